"""The result for one frame, and the writers that receive it."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from sali.data.frames import read_frame
from sali.data.index import Clip
from sali.data.listing import files_but_litter
from sali.data.samples import Frame
from sali.errors import ConfigError
from sali.evaluation.inputs import MANIFEST
from sali.metrics.operating_point import OperatingPoint
from sali.models.contract import Attention
from sali.prediction.sources import Source
from sali.run.io import read_json, write_json
from sali.run.record import provenance

log = logging.getLogger(__name__)


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
            return self.source.stems[self.frame.number]
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


def write_manifest(root: Path, point: OperatingPoint, **about: Any) -> None:
    """Write what maps are of next to them, as `run.json`; the evaluation reads the point of it."""
    there = read_json(root / MANIFEST)
    if there and "operating_point" not in there:
        log.warning("%s is of something else, so it is not replaced", root / MANIFEST)
        return
    write_json(root / MANIFEST, provenance(operating_point=asdict(point), **about))


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
    """What a `ClipWriter` writes of one clip; only a resumable one has the last two methods."""

    def write(self, result: Result) -> None:
        """Take the next frame."""

    def close(self, whole: bool) -> None:
        """Give the output its final name if it is `whole`; else remove it or mark it as partial."""

    def save(self) -> dict[str, Any]:
        """Bring what was written to disk; return what it takes to continue, plain values."""

    def suspend(self) -> None:
        """Close the files and keep what was saved."""


LOCK = ".predict.lock"
"""File in a folder of maps by which processes that write there at the same time know each other."""
MARK = "sali.predict"
"""Stands near the start of the pictures and videos that are written, to know them again."""
_MARKED_BYTES = 4096


def is_own(path: Path, mark: str = MARK) -> bool:
    """Return whether this program wrote a file, by a mark near its start, or all of a folder."""
    if path.is_dir():
        beside = path / MANIFEST, path / LOCK
        inside = (file for file in files_but_litter(path) if file not in beside)
        return all(is_own(file, mark) for file in inside)
    try:
        with path.open("rb") as file:
            return mark.encode() in file.read(_MARKED_BYTES)
    except OSError:
        return False


@dataclass
class ClipWriter:
    """A writer with one output for each clip, `<root>/<clip><suffix>`.

    What has that name already is replaced only if this program wrote it.

    Attributes:
        root: Folder of the outputs.
        begin: Begins the `ClipOutput` of a clip; given what `save` returned, continues there, or
            raises DataError.
        suffix: End of the outputs' names; none for folders.
        knows: Whether a file or folder was written by such a writer.
        resumable: Whether an interrupted output can be continued.
    """

    root: Path
    begin: Callable[[Source, dict[str, Any] | None], Any]
    suffix: str = ""
    knows: Callable[[Path], bool] = is_own
    resumable: bool = True

    def __post_init__(self) -> None:
        self._open: dict[str, Any] = {}

    def protect(self, clip: str) -> None:
        """Refuse a clip whose output has the name of something that others wrote."""
        final = self.root / f"{clip}{self.suffix}"
        if final.is_symlink() or (final.exists() and not self.knows(final)):
            raise ConfigError(
                f"{final} is there and is not what sali.predict writes, so it is not replaced; "
                "choose another output, or move it away"
            )

    def write(self, result: Result) -> None:
        if result.clip not in self._open:
            self._open[result.clip] = self.begin(result.source, None)
        self._open[result.clip].write(result)

    def finish(self, clip: str) -> None:
        if clip in self._open:
            self.protect(clip)  # it may have come meanwhile
            self._open.pop(clip).close(whole=True)

    def discard(self) -> None:
        while self._open:
            self._open.popitem()[1].close(whole=False)

    def save(self, clip: str) -> dict[str, Any]:
        """Bring what was written of a clip to disk; return what `restore` needs."""
        return self._open[clip].save()

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        """Continue where `save` was called; what was written after it is dropped."""
        self._open[source.name] = self.begin(source, state)

    def suspend(self) -> None:
        """Close the files of unfinished clips, and keep what was saved."""
        while self._open:
            self._open.popitem()[1].suspend()
