"""What accompanies a training: progress, gradients, speed, use of the memory, frozen parts."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme
from torch import nn
from torchmetrics import MeanMetric

from sali.errors import ConfigError
from sali.run.progress import console, is_watched

log = logging.getLogger(__name__)


class TrainingProgress(RichProgressBar):
    """Lightning's progress bar in a terminal, and one log line per epoch anywhere.

    Both show what the task logs with `prog_bar`: loss and held-out Dice.

    Args:
        update_every_n_steps: Steps after which the numbers next to the bar are updated; on a GPU
            each update waits for the device.
        log_every_n_minutes: Minutes after which a long epoch is logged before its end.
    """

    def __init__(self, update_every_n_steps: int, log_every_n_minutes: float) -> None:
        super().__init__(refresh_rate=10, theme=RichProgressBarTheme(metrics_format=".4f"))
        self.update_every_n_steps = update_every_n_steps
        self.log_every_n_minutes = log_every_n_minutes
        for name in ("update_every_n_steps", "log_every_n_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, wanted a number above 0")
        self._logged = 0.0

    @property
    def is_enabled(self) -> bool:
        return super().is_enabled and is_watched()

    def _init_progress(self, trainer: L.Trainer) -> None:
        self._console_kwargs = {"stderr": console().stderr}
        super()._init_progress(trainer)
        if self.progress is not None:  # prints stay where they were sent, e.g. in a file
            self.progress.live._disable_redirect_io()

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer)

    def _update_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.training or trainer.global_step % self.update_every_n_steps == 0:
            super()._update_metrics(trainer, pl_module)

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Return Lightning's metrics without the version of the logger."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._logged = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if time.monotonic() - self._logged >= 60 * self.log_every_n_minutes:
            self._log(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._log(trainer, pl_module)

    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._logged = time.monotonic()
        if trainer.is_global_zero:
            metrics = self.get_metrics(trainer, pl_module)
            text = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            log.info("%s, step %d: %s", _epoch(trainer), trainer.global_step, text)


def _epoch(trainer: L.Trainer) -> str:
    last = trainer.max_epochs
    of = f" of {last}" if last is not None and last > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{of}"


class GradientNorm(L.Callback):
    """Log `train/gradient_norm`, the 2-norm of all gradients before they are clipped.

    Computed at the steps that are logged only, and left on the device.
    """

    def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
        every = trainer.log_every_n_steps
        if every and (trainer.global_step + 1) % every == 0:
            gradients = [p.grad for p in task.parameters() if p.grad is not None]
            task.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients))


class TrainingSpeed(L.Callback):
    """Log `train/step_time` (seconds) and `train/samples_per_second` of all processes together.

    Means since they were last logged; validations are left out. The clock is read without waiting
    for the device: over many steps that makes no difference.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._batches = self._samples = 0
        self._mark = 0.0

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self._seconds += now - self._mark
        self._mark = now
        self._batches += 1
        self._samples += len(batch.frames) * trainer.world_size
        every = trainer.log_every_n_steps
        if every and trainer.global_step % every == 0:
            steps = self._batches / trainer.accumulate_grad_batches
            task.log("train/step_time", self._seconds / steps)
            task.log("train/samples_per_second", self._samples / self._seconds)
            self._seconds, self._batches, self._samples = 0.0, 0, 0


class MemoryStatistics(L.Callback):
    """Log the `VideoState.statistics` at the ends of the validated clips, their mean over clips.

    Logged as `val/<name>`; nothing for networks that have none.
    """

    def __init__(self) -> None:
        self._means: dict[str, MeanMetric] = {}

    def on_validation_epoch_start(self, trainer: Any, task: Any) -> None:
        names = task.network.start().statistics()
        self._means = {name: MeanMetric().to(task.device) for name in names}

    def on_validation_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int, part: int = 0
    ) -> None:
        if batch.is_last and task.video is not None:
            for name, value in task.video.statistics().items():
                self._means[name].update(value)

    def on_validation_epoch_end(self, trainer: Any, task: Any) -> None:
        for name, mean in self._means.items():
            task.log(f"val/{name}", mean.compute(), sync_dist=True)
        self._means = {}


class Freeze(L.Callback):
    """Keep parts of the network as an earlier stage left them, statistics of batch norms included.

    Args:
        modules: Names of parts of the network, with dots for parts of parts.

    Raises:
        ConfigError: No part of this name, when the training starts.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = tuple(modules)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        network = pl_module.network
        assert isinstance(network, nn.Module)
        for name in self.modules if stage == "fit" else ():
            try:
                network.get_submodule(name).requires_grad_(False)
            except AttributeError as error:
                known = ", ".join(name for name, _ in network.named_children())
                raise ConfigError(
                    f"callbacks.freeze.modules: got {name}, wanted parts of the network ({known})"
                ) from error

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name in self.modules:
            pl_module.get_submodule(f"network.{name}").eval()
