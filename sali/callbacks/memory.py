"""What a network remembers of a video, and how much of it is used."""

from typing import Any

import lightning as L
from torchmetrics import MeanMetric


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
