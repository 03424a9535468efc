"""Saved states of videos, to resume an interrupted prediction."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sali.data.samples import Frame, StreamItem
from sali.data.video.files import Video
from sali.errors import DataError
from sali.prediction.result import ClipWriter
from sali.prediction.sources import Source
from sali.run.io import atomic_write
from sali.streaming import ClipRunner

log = logging.getLogger(__name__)

HEAD_BYTES = 65_536
"""Bytes of a video that, with its size and time of change, tell it from others."""
Counts = dict[str, int]
"""Numbers of frames by what became of them, "frames" and "skipped"."""


@dataclass
class Resume:
    """Saved states of the videos of one command, until all of them are whole.

    `.<video>.resume.pt` next to the maps of a video says from what settings and which file its
    results are, and holds the last saved state of runner and writers; none if the video is whole.

    A state is saved after every `every` frames; the results depend on `settings`, plain values.

    Attributes:
        starts: First frame to segment, by number of the resumed video.
        counted: Counts of the frames before that, by number of the resumed video.
        whole: Counts of the videos that an interrupted command finished.
        saved: Names of the unfinished videos that could be resumed now.
    """

    root: Path
    settings: Mapping[str, Any]
    writers: Mapping[str, ClipWriter]
    every: int

    def __post_init__(self) -> None:
        self.starts: dict[int, int] = {}
        self.counted: dict[int, Counts] = {}
        self.whole: list[Counts] = []
        self.saved: set[str] = set()
        self._is_due = False
        self._videos: Sequence[Source] = ()

    def begin(self, sources: Sequence[Source], runner: ClipRunner) -> list[Source]:
        """Restore what was interrupted.

        Returns:
            The videos that have frames to segment, in order.
        """
        todo: list[Source] = []
        self._videos = sources
        for video in sources:
            assert isinstance(video, Video)
            saved = self._load(video)
            if saved and saved["runner"] is None and (self.root / video.name).is_dir():
                log.info("%s: all of it was written before", video.name)
                self.whole.append(saved["counts"])
                continue
            if saved and saved["runner"] and self._restore(video, saved["writers"]):
                self.starts[len(todo)] = saved["runner"]["next_frame"]
                self.counted[len(todo)] = saved["counts"]
                runner.resume(len(todo), saved["runner"])
                log.info("%s: resumed at frame %d", video.name, self.starts[len(todo)])
                self.saved.add(video.name)
            else:
                forget(self.root, [video])
            todo.append(video)
        return todo

    def after(self, item: StreamItem, video: Video, runner: ClipRunner, counts: Counts) -> None:
        """Note the end of a video, or save its state if it is time, after an item was written."""
        if item.is_last:
            self._save(video, {"runner": None, "counts": counts})
            self.saved.discard(video.name)
            self._is_due = False
            return
        self._is_due = self._is_due or (item.number + 1) % self.every == 0
        if self._is_due and isinstance(item, Frame) and counts["frames"]:
            writers = {name: one.save(video.name) for name, one in self.writers.items()}
            state = {"runner": runner.state(item.clip), "writers": writers, "counts": counts}
            self._save(video, state)
            self._is_due = False
            self.saved.add(video.name)

    def close(self) -> None:
        """Remove all states: all results are written, the same command would start again."""
        forget(self.root, self._videos)

    def _save(self, video: Video, state: dict[str, Any]) -> None:
        with atomic_write(_path(self.root, video)) as partial:
            torch.save({"identity": self._identity(video), **state}, partial)

    def _load(self, video: Video) -> dict[str, Any] | None:
        """Return what was saved of the same video and settings; None without it."""
        path = _path(self.root, video)
        if not path.is_file():
            return None
        saved = torch.load(path, map_location="cpu", weights_only=True)
        wanted, found = self._identity(video), saved["identity"]
        other = ", ".join(sorted(name for name in wanted if found.get(name) != wanted[name]))
        if other:
            log.warning(
                "%s starts again: the interrupted command had another %s", video.name, other
            )
            return None
        return saved

    def _restore(self, video: Video, states: Mapping[str, dict[str, Any]]) -> bool:
        """Return whether all writers could continue the video."""
        try:
            for name, writer in self.writers.items():
                writer.restore(video, states[name])
        except DataError as error:
            log.warning("%s starts again: %s", video.name, error)
            for writer in self.writers.values():
                writer.discard()
            return False
        return True

    def _identity(self, video: Video) -> dict[str, Any]:
        """Return settings, and size, time of last change and hash of the first bytes of a video."""
        with video.path.open("rb") as file:
            head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
            status = os.fstat(file.fileno())
        source = {"bytes": status.st_size, "changed_ns": status.st_mtime_ns, "head": head}
        return {"source": source, **self.settings}


def forget(root: Path, sources: Sequence[Source]) -> None:
    """Remove saved states, so that these videos start again."""
    for video in sources:
        if isinstance(video, Video):
            _path(root, video).unlink(missing_ok=True)


def _path(root: Path, video: Video) -> Path:
    return root / f".{video.name}.resume.pt"
