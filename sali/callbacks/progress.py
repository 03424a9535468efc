"""The progress of a training and its test."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.callbacks import ProgressBar
from rich.progress import Progress, TaskID

from sali.run.progress import progress_bar

log = logging.getLogger(__name__)


class TrainingProgress(ProgressBar):
    """A bar of the training's steps, and one of the frames of each validation and test.

    Beside it stands what the task logs with ``prog_bar``: loss and held-out Dice. At the end of
    every epoch they are a line of the log, which is all there is where nobody watches.

    Args:
        note_every: steps after which the figures beside the bar are new; on a GPU each time waits
            for it.
    """

    def __init__(self, note_every: int) -> None:
        if note_every < 1:
            raise ValueError(f"note_every is {note_every}; it counts steps, so at least 1")
        super().__init__()
        self.note_every = note_every
        self._is_enabled = True
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}

    def disable(self) -> None:
        self._is_enabled = False

    def enable(self) -> None:
        self._is_enabled = True

    # --- training ---

    def on_train_start(self, trainer: Any, task: Any) -> None:
        self._add("train", "steps", trainer.estimated_stepping_batches, trainer.global_step)

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        self._update("train", description=_epoch(trainer))

    def on_train_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._update("train", completed=trainer.global_step)
        if (batch_idx + 1) % self.note_every == 0:
            self._update("train", note=self._figures(trainer, task))

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        figures = self._figures(trainer, task)
        self._update("train", note=figures)
        if trainer.is_global_zero:
            log.info("%s, step %d: %s", _epoch(trainer), trainer.global_step, figures)

    def on_train_end(self, trainer: Any, task: Any) -> None:
        self._close()

    # --- validation and test ---

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        lengths = trainer.num_sanity_val_batches if trainer.sanity_checking else None
        self._add("validation", "frames", _total(lengths or trainer.num_val_batches))

    def on_validation_batch_end(self, *_: Any) -> None:
        self._advance("validation")

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        self._remove("validation")
        if "train" not in self._bars:
            self._close()

    def on_test_start(self, trainer: Any, task: Any) -> None:
        self._add("test", "frames", _total(trainer.num_test_batches))

    def on_test_batch_end(self, *_: Any) -> None:
        self._advance("test")

    def on_test_end(self, trainer: Any, task: Any) -> None:
        self._close()

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        self._close()

    # --- bars ---

    def _add(self, name: str, unit: str, total: float, completed: int = 0) -> None:
        if not self._is_enabled:
            return
        if self._progress is None:
            self._progress = progress_bar(unit)
            self._progress.start()
        known = int(total) if 0 <= total < math.inf else None
        self._bars[name] = self._progress.add_task(
            name, total=known, completed=completed, unit=unit
        )

    def _update(self, name: str, **fields: Any) -> None:
        if self._progress is not None and name in self._bars:
            self._progress.update(self._bars[name], **fields)

    def _advance(self, name: str) -> None:
        if self._progress is not None and name in self._bars:
            self._progress.advance(self._bars[name])

    def _remove(self, name: str) -> None:
        if self._progress is not None and name in self._bars:
            self._progress.remove_task(self._bars.pop(name))

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._bars = None, {}

    def _figures(self, trainer: Any, task: Any) -> str:
        figures = self.get_metrics(trainer, task)
        return ", ".join(
            f"{name} {value:.4f}" for name, value in figures.items() if isinstance(value, float)
        )


def _epoch(trainer: Any) -> str:
    last = trainer.max_epochs
    of = f" of {last}" if last is not None and last > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{of}"


def _total(lengths: Sequence[float] | float) -> float:
    return sum(lengths) if isinstance(lengths, Sequence) else lengths
