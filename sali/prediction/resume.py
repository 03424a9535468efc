"""Saved states of videos, to resume an interrupted prediction."""

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sali.data.samples import Frame, StreamItem
from sali.data.video.files import Video
from sali.errors import ConfigError, DataError
from sali.prediction.result import ClipWriter
from sali.prediction.sources import Source
from sali.run.io import atomic_write, read_json, write_json
from sali.streaming import ClipRunner

log = logging.getLogger(__name__)

HEAD_BYTES = 65_536
"""Bytes of a video that, with its size and time of change, tell it from others."""
RECORD, STATE = "video.json", "state.pt"
Counts = dict[str, int]
"""Numbers of frames by what became of them, "frames" and "skipped"."""


class Resume:
    """Saved states of the videos of one command, until all of them are whole.

    `.<video>.resume/` next to the maps of a video holds `video.json`, which says from what settings
    and which file the results are, and whether they are whole; and `state.pt`, the last saved state
    of segmenter and writers.

    Args:
        root: Folder of the maps.
        settings: Everything that the results depend on, plain values.
        writers: Writers by name.
        every: Frames from one saved state to the next.

    Attributes:
        starts: First frame to segment, by number of the resumed video.
        counted: Counts of the frames before that, by number of the resumed video.
        whole: Counts of the videos that an interrupted command finished.

    Raises:
        ConfigError: `every` is below 1.
    """

    def __init__(
        self, root: Path, settings: Mapping[str, Any], writers: Mapping[str, ClipWriter], every: int
    ) -> None:
        if every < 1:
            raise ConfigError(f"video.save_every: got {every}, wanted at least 1 frame")
        self.starts: dict[int, int] = {}
        self.counted: dict[int, Counts] = {}
        self.whole: list[Counts] = []
        self._root = root
        self._settings = dict(settings)
        self._writers = dict(writers)
        self._every = every
        self._is_due = False
        self._saved: set[str] = set()
        self._folders: list[Path] = []

    @property
    def holds_state(self) -> bool:
        """Whether a video could be resumed now."""
        return bool(self._saved)

    def begin(self, sources: Sequence[Source], runner: ClipRunner) -> list[Source]:
        """Restore what was interrupted.

        Args:
            sources: All videos of the command.
            runner: Runner that gets the saved states.

        Returns:
            The videos that have frames to segment, in order.
        """
        todo: list[Source] = []
        for video in sources:
            assert isinstance(video, Video)
            self._folders.append(folder_of(self._root, video))
            record = self._record(video)
            counts = (record or {}).get("counts")
            if counts is not None and (self._root / video.name).is_dir():
                log.info("%s: all of it was written before", video.name)
                self.whole.append(counts)
                continue
            state = self._restored(video) if record is not None else None
            if state is None:
                shutil.rmtree(self._folders[-1], ignore_errors=True)
                write_json(self._folders[-1] / RECORD, self._identity(video))
            else:
                self.starts[len(todo)] = state["runner"]["next_frame"]
                self.counted[len(todo)] = state["counts"]
                runner.resume(len(todo), state["runner"])
                log.info("%s: resumed at frame %d", video.name, self.starts[len(todo)])
                self._saved.add(video.name)
            todo.append(video)
        return todo

    def after(self, item: StreamItem, video: Video, runner: ClipRunner, counts: Counts) -> None:
        """Note the end of a video, or save its state if it is time.

        Args:
            item: Last item that was segmented, whose results are written.
            video: Video of the item.
            runner: Runner that segmented it.
            counts: Counts of this video so far.
        """
        folder = folder_of(self._root, video)
        if item.is_last:
            write_json(folder / RECORD, {**self._identity(video), "counts": counts})
            (folder / STATE).unlink(missing_ok=True)
            self._saved.discard(video.name)
            self._is_due = False
            return
        self._is_due = self._is_due or (item.number + 1) % self._every == 0
        if not self._is_due or not isinstance(item, Frame) or not counts["frames"]:
            return
        state = {
            "runner": runner.state(item.clip),
            "writers": {name: one.save(video.name) for name, one in self._writers.items()},
            "counts": counts,
        }
        with atomic_write(folder / STATE) as partial:
            torch.save(state, partial)
        self._is_due = False
        self._saved.add(video.name)

    def close(self) -> None:
        """Remove all states: all results are written, the same command would start again."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _restored(self, video: Video) -> dict[str, Any] | None:
        """Return the saved state with the writers restored; None if there is none that fits."""
        path = folder_of(self._root, video) / STATE
        if not path.is_file():
            return None
        state = torch.load(path, map_location="cpu", weights_only=True)
        try:
            for name, writer in self._writers.items():
                writer.restore(video, state["writers"][name])
        except DataError as error:
            log.warning("%s starts again: %s", video.name, error)
            for writer in self._writers.values():
                writer.discard()
            return None
        return state

    def _identity(self, video: Video) -> dict[str, Any]:
        return {"source": _fingerprint(video.path), **self._settings}

    def _record(self, video: Video) -> dict[str, Any] | None:
        """Return the content of `video.json` if it is of the same video and settings."""
        try:
            record = read_json(folder_of(self._root, video) / RECORD)
        except DataError:  # cut off
            record = {"source": None}
        if not record:
            return None
        wanted = self._identity(video)
        other = ", ".join(sorted(name for name in wanted if record.get(name) != wanted[name]))
        if other:
            log.warning(
                "%s starts again: the interrupted command had another %s", video.name, other
            )
            return None
        return record


def folder_of(root: Path, video: Video) -> Path:
    """Return where the state of a video is kept, next to its maps."""
    return root / f".{video.name}.resume"


def forget(root: Path, sources: Sequence[Source]) -> None:
    """Remove saved states, so that these videos start again."""
    for video in sources:
        if isinstance(video, Video):
            shutil.rmtree(folder_of(root, video), ignore_errors=True)


def _fingerprint(path: Path) -> dict[str, Any]:
    """Return size, time of last change, and hash of the first bytes of a video."""
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
        status = os.fstat(file.fileno())
    return {"bytes": status.st_size, "changed_ns": status.st_mtime_ns, "head": head}
