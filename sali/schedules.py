"""Learning rate schedules, as Lightning expects them: {"scheduler": ..., "interval": ...}."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, StepLR

from sali.errors import ConfigError


def constant(optimizer: Optimizer, total_steps: float) -> dict[str, Any]:
    """Keep the learning rate constant."""
    return {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "step"}


def step_decay(
    optimizer: Optimizer, total_steps: float, every_epochs: int, factor: float
) -> dict[str, Any]:
    """Multiply the learning rate by `factor` every `every_epochs` epochs, as released."""
    return {"scheduler": StepLR(optimizer, every_epochs, factor), "interval": "epoch"}


def warmup_cosine(
    optimizer: Optimizer, total_steps: float, warmup_fraction: float, final_fraction: float
) -> dict[str, Any]:
    """Warm up linearly, then follow half a cosine down to a fraction of the learning rate.

    Args:
        optimizer: Optimizer whose learning rates are the peak.
        total_steps: Optimizer steps of the whole training.
        warmup_fraction: Share of the steps that warms up.
        final_fraction: Share of the learning rate that is left at the end.

    Raises:
        ConfigError: The length of the training is not known.
    """
    if not math.isfinite(total_steps) or total_steps < 1:
        raise ConfigError(
            f"the cosine schedule needs to know the end of training, but there are {total_steps} "
            "steps; set trainer.max_epochs or trainer.max_steps, or take scheduler=constant"
        )
    warmup = max(1, round(warmup_fraction * total_steps))

    def ratio(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))

    return {"scheduler": LambdaLR(optimizer, ratio), "interval": "step"}
