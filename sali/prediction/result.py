"""The result for one frame, and the writer interface that receives it."""

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

    Attributes:
        root: Folder of the output.
    """

    root: Path

    def write(self, result: Result) -> None:
        """Take the next frame of its clip."""

    def finish(self, clip: str) -> None:
        """Give what was written of a whole clip its final name."""

    def discard(self) -> None:
        """Remove what was written of unfinished clips, or mark it as incomplete."""


@runtime_checkable
class Resumable(Writer, Protocol):
    """A writer that can continue with a video of an interrupted prediction."""

    def save(self, clip: str) -> dict[str, Any]:
        """Bring what was written to disk; return what `restore` needs, tensors and plain values."""

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        """Continue where `save` was called; what was written after it is dropped.

        Raises:
            DataError: What was saved is not there any more.
        """

    def suspend(self) -> None:
        """Close the files of unfinished clips, and keep what was saved."""
