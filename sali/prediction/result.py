"""What is known of a frame once it is segmented, and who is told."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from sali.data.frames import read_frame
from sali.data.index import Clip
from sali.data.samples import Frame
from sali.models.contract import Attention
from sali.prediction.sources import Source


@dataclass(frozen=True)
class Result:
    """One frame and its probability; whatever costs time is made when it is first asked for."""

    source: Source
    frame: Frame
    tensor: Tensor
    """Probability, float [H, W], wherever the network runs."""
    attention: Attention | None
    """What the result read of the past, see `StreamSegmenter.attention`."""

    @property
    def clip(self) -> str:
        return self.source.name

    @property
    def stem(self) -> str:
        """Name of the frame; of a video or live source its number, from 000000."""
        if isinstance(self.source, Clip):
            return self.source.frames[self.frame.number].stem
        return f"{self.frame.number:06d}"

    @property
    def time(self) -> float | None:
        """Seconds, on the clock of the video or from a live beginning; None for frames in files."""
        return None if isinstance(self.source, Clip) else float(self.frame.time)

    @cached_property
    def probability(self) -> np.ndarray:
        """float32 [H, W]."""
        return self.tensor.float().cpu().numpy()

    @cached_property
    def picture(self) -> np.ndarray:
        """The frame itself, RGB uint8 [H, W, 3].

        Videos and live sources keep it only where ``load`` was told so.
        """
        if isinstance(self.source, Clip):
            picture, _ = read_frame(self.source.frames[self.frame.number])
            return picture
        assert self.frame.picture is not None
        return self.frame.picture.numpy()


class Writer(Protocol):
    """One kind of output. Frames of a clip come in order; clips may come side by side."""

    root: Path

    def write(self, result: Result) -> None:
        """Take the next frame of its clip."""

    def finish(self, clip: str) -> None:
        """The clip is whole: what was written of it gets its final name."""

    def discard(self) -> None:
        """No more frames will come: drop or mark what is half."""


@runtime_checkable
class Resumable(Writer, Protocol):
    """A writer that can go on with the clip of an interrupted run, with the same result."""

    def save(self, clip: str) -> dict[str, Any]:
        """Bring what was written to disk; what ``restore`` needs, in tensors and plain values."""

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        """Go on where ``save`` was called: what was written after it is dropped.

        Raises:
            DataError: what was saved is not there any more.
        """

    def suspend(self) -> None:
        """As ``discard``, but what was saved is kept."""
