"""How large the gradients are."""

from typing import Any

import lightning as L
import torch


class GradientNorm(L.Callback):
    """Log ``train/gradient_norm``, the 2-norm of all gradients before they are clipped.

    Computed at the steps that are logged only, and left on the device.
    """

    def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
        every = trainer.log_every_n_steps
        if every and (trainer.global_step + 1) % every == 0:
            gradients = [p.grad for p in task.parameters() if p.grad is not None]
            task.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients))
