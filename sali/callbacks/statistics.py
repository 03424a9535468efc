"""Numbers of a training other than its loss: gradients, speed, use of the memory."""

import time
from typing import Any

import lightning as L
import torch
from torchmetrics import MeanMetric


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
