"""A training with frozen batch norms that keeps its gradients: FILE OVERRIDE...

Batch norms in evaluation mode make a sample's gradient independent of the rest of its batch, so
that two processes with half a batch each must have the gradients of one with the whole.
"""

import sys
from pathlib import Path

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from torch.nn.modules.batchnorm import _BatchNorm

from sali.build import build_network, build_task
from sali.config import build, config_dir


class FrozenNorms(L.Callback):
    def __init__(self):
        self.gradients = []

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        for module in task.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def on_before_optimizer_step(self, trainer, task, optimizer):
        self.gradients.append({n: p.grad.clone() for n, p in task.named_parameters()})


def main(file: str, *overrides: str) -> None:
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=list(overrides))
    L.seed_everything(0, verbose=False)
    data = build(cfg.data)
    data.index()
    frozen = FrozenNorms()
    network = build_network(cfg)
    data.roles = network.roles
    task = build_task(cfg, network)
    trainer = build(cfg.trainer, callbacks=[frozen], logger=False, enable_checkpointing=False)
    trainer.limit_val_batches = 0
    trainer.fit(task, data)
    if trainer.is_global_zero:
        torch.save(frozen.gradients, Path(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
