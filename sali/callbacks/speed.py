"""How fast the training goes."""

import time
from typing import Any

import lightning as L


class TrainingSpeed(L.Callback):
    """Log ``train/step_time`` (seconds) and ``train/samples_per_second`` of all processes together.

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
