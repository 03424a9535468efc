"""The progress of a training: a bar where a person watches, and lines in the log."""

import logging
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme

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
        for name, value in (
            ("update_every_n_steps", update_every_n_steps),
            ("log_every_n_minutes", log_every_n_minutes),
        ):
            if value <= 0:
                raise ValueError(f"{name}: got {value}, wanted a number above 0")
        super().__init__(refresh_rate=10, theme=RichProgressBarTheme(metrics_format=".4f"))
        self.update_every_n_steps = update_every_n_steps
        self.log_every_n_minutes = log_every_n_minutes
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
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
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
