"""The result for one frame, and the writers that receive it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from sali.data.frames import read_frame
from sali.data.index import Clip
from sali.data.samples import Frame
from sali.models.contract import Attention
from sali.prediction.sources import Source


@dataclass(frozen=True)
class Result:
    """One frame and its probability; what costs time is computed when it is first asked for.

    Attributes:
        source: Clip, video or live source that the frame belongs to.
        frame: The frame.
        tensor: Probability, float [H, W], on the device of the network.
        attention: What the result read of the past, see `StreamSegmenter.attention`.
    """

    source: Source
    frame: Frame
    tensor: Tensor
    attention: Attention | None

    @property
    def clip(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def stem(self) -> str:
        """Name of the frame; of a video or live source its number, from 000000."""
        if isinstance(self.source, Clip):
            return self.source.frames[self.frame.number].stem
        return f"{self.frame.number:06d}"

    @property
    def time(self) -> float | None:
        """Seconds since the start of a video or live source; None for frames in files."""
        return None if isinstance(self.source, Clip) else float(self.frame.time)

    @cached_property
    def probability(self) -> np.ndarray:
        """Probability, float32 [H, W]."""
        return self.tensor.float().cpu().numpy()

    @cached_property
    def picture(self) -> np.ndarray:
        """The frame itself, RGB uint8 [H, W, 3]; of videos only with `Options.keep_pictures`."""
        if isinstance(self.source, Clip):
            picture, _ = read_frame(self.source.frames[self.frame.number])
            return picture
        assert self.frame.picture is not None
        return self.frame.picture.numpy()


class Writer(Protocol):
    """One kind of output. Frames of a clip come in order; several clips may be open at a time.

    An exception that a writer raises ends the work.
    """

    def write(self, result: Result) -> None:
        """Take the next frame of its clip."""

    def finish(self, clip: str) -> None:
        """Give what was written of a whole clip its final name."""

    def discard(self) -> None:
        """Remove what was written of unfinished clips, or mark it as incomplete."""


class ClipOutput(Protocol):
    """What a `ClipWriter` writes of one clip."""

    def write(self, result: Result) -> None:
        """Take the next frame."""

    def close(self, whole: bool) -> None:
        """Give the output its final name if it is `whole`; else remove it or mark it as partial."""


class ResumableOutput(ClipOutput, Protocol):
    """An output that a later process can continue."""

    def save(self) -> dict[str, Any]:
        """Bring what was written to disk; return what it takes to continue, plain values."""

    def suspend(self) -> None:
        """Close the files and keep what was saved."""


Begin = Callable[[Source, dict[str, Any] | None], Any]
"""Begins the output of a clip; given what `save` returned, continues there, or raises DataError."""


class ClipWriter:
    """A writer with one output for each clip.

    Args:
        root: Folder of the outputs.
        begin: Begins the output of a clip, a `ResumableOutput` if `resumable`.
        resumable: Whether an interrupted output can be continued.
    """

    def __init__(self, root: Path, begin: Begin, resumable: bool = True) -> None:
        self.root = Path(root)
        self.resumable = resumable
        self._begin = begin
        self._open: dict[str, Any] = {}

    def write(self, result: Result) -> None:
        if result.clip not in self._open:
            self._open[result.clip] = self._begin(result.source, None)
        self._open[result.clip].write(result)

    def finish(self, clip: str) -> None:
        if clip in self._open:
            self._open.pop(clip).close(whole=True)

    def discard(self) -> None:
        while self._open:
            self._open.popitem()[1].close(whole=False)

    def save(self, clip: str) -> dict[str, Any]:
        """Bring what was written of a clip to disk; return what `restore` needs."""
        return self._open[clip].save()

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        """Continue where `save` was called; what was written after it is dropped.

        Raises:
            DataError: What was saved is not there any more.
        """
        self._open[source.name] = self._begin(source, state)

    def suspend(self) -> None:
        """Close the files of unfinished clips, and keep what was saved."""
        while self._open:
            self._open.popitem()[1].suspend()
