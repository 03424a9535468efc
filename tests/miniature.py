"""Trainings that are over in seconds, for tests of what goes on round them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch.utils._pytree import tree_flatten

from sali.config import config_dir
from sali.models.weights import read_file
from sali.train import train

ROOT = Path(__file__).parent.parent
TORCHRUN = (
    "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "sali.train"
)  # fmt: skip
TWO = ("trainer.devices=2", "trainer.strategy=ddp")


def overrides(data_root, output, *more, pictures=False):
    """A training that is over in seconds, by default without any picture or page."""
    nothing = "callbacks.show_test=null", "report.figures=false", "report.enabled=false"
    drawing = () if pictures else nothing
    return [
        *drawing,
        f"paths.output_dir={output}",
        f"data.root={data_root}",
        "backbone=efficientnet_lite0",
        "trainer=cpu",
        "data.image_size=256",
        "data.batch_size=2",
        "data.num_workers=0",
        "data.pin_memory=false",
        "trainer.limit_train_batches=1",
        "trainer.max_epochs=2",
        "callbacks.progress=null",
        "+trainer.enable_progress_bar=false",
        *more,
    ]


def run(data_root, output, *more, pictures=False):
    given = overrides(data_root, output, *more, pictures=pictures)
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return train(compose("train", overrides=given))


def start(data_root, output, *more, launcher=("-m", "sali.train"), cwd=ROOT, pictures=False):
    """A training in processes of its own; without an output, in the folder that Hydra chooses."""
    given = overrides(data_root, output, *more, pictures=pictures)
    arguments = [a for a in given if "paths.output_dir" not in a]
    folder = [f"hydra.run.dir={output}"] if output else []
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments, *folder],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(condition, seconds: float = 300) -> Any:
    """What the condition returns, once that is true."""
    deadline = time.time() + seconds
    while not (found := condition()):
        assert time.time() < deadline, f"nothing within {seconds} s"
        time.sleep(0.05)
    return found


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def assert_same_end(whole: Path, resumed: Path, steps: int) -> None:
    """Two runs ended with the same bits in weights, moving average, optimizer and random states."""
    one, two = (read_file(folder / "checkpoints/last.ckpt") for folder in (whole, resumed))
    assert one["global_step"] == two["global_step"] == steps
    compared = ("state_dict", "current_model_state", "optimizer_states", "random_states")
    for part in compared:
        (leaves, shape), (others, other_shape) = (tree_flatten(c.get(part)) for c in (one, two))
        assert shape == other_shape
        for a, b in zip(leaves, others, strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, part
    schedules = [c["lr_schedulers"][0]["last_epoch"] for c in (one, two)]
    assert schedules == [steps, steps]
