"""What is in the long-term memory, and how much of it is used."""

from typing import Any

import lightning as L
from torchmetrics import MeanMetric

from sali.streaming import MemoryBank

FINEST_STRIDE = 8


def bank_statistics(bank: MemoryBank, image_size: int) -> dict[str, Any]:
    """Figures of a bank.

    Args:
        bank: after at least one frame.
        image_size: side in pixels of the network's input.

    Returns:
        ``memory_frames``: elements of the finest level in whole frames; ``memory_fill``: these over
        the cap; ``memory_usage_per_read``: softmax weight that an element received per read, mean
        over the elements of all levels; ``memory_unread_share``: elements that no query ever read.
    """
    frames = bank.levels[0].size / (image_size // FINEST_STRIDE) ** 2
    total = sum(bank.sizes)
    usage = sum((level.usage / level.life.clamp_min(1)).sum() for level in bank.levels)
    unread = sum((level.usage == 0).sum() for level in bank.levels)
    return {
        "memory_frames": frames,
        "memory_fill": frames / bank.max_frames,
        "memory_usage_per_read": usage / total,
        "memory_unread_share": unread / total,
    }


NAMES = ("memory_frames", "memory_fill", "memory_usage_per_read", "memory_unread_share")


class MemoryStatistics(L.Callback):
    """Log ``bank_statistics`` at the ends of clips, their mean over the clips.

    In validation as ``val/<name>``, in a test as ``test/<subset>/<name>``.
    """

    def __init__(self) -> None:
        self._means: dict[str, dict[str, MeanMetric]] = {}

    def on_validation_epoch_start(self, trainer: Any, task: Any) -> None:
        self._start(task, ["val"])

    def on_test_epoch_start(self, trainer: Any, task: Any) -> None:
        self._start(task, [f"test/{subset}" for subset in trainer.datamodule.test_clips])

    def on_validation_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int, part: int = 0
    ) -> None:
        self._count(task, batch, part)

    def on_test_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int, part: int = 0
    ) -> None:
        self._count(task, batch, part)

    def on_validation_epoch_end(self, trainer: Any, task: Any) -> None:
        self._log(task)

    def on_test_epoch_end(self, trainer: Any, task: Any) -> None:
        self._log(task)

    def _start(self, task: Any, prefixes: list[str]) -> None:
        if task.network.long_term is None:
            prefixes = []
        self._means = {
            prefix: {name: MeanMetric().to(task.device) for name in NAMES} for prefix in prefixes
        }

    def _count(self, task: Any, batch: Any, part: int) -> None:
        if self._means and batch.is_last:
            means = list(self._means.values())[part]
            for name, value in bank_statistics(
                task.memory_bank, task.streaming["image_size"]
            ).items():
                means[name].update(value)

    def _log(self, task: Any) -> None:
        for prefix, means in self._means.items():
            for name, mean in means.items():
                task.log(f"{prefix}/{name}", mean.compute(), sync_dist=True)
        self._means = {}
