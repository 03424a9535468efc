"""What is kept of videos under way, so that the same command goes on where it was interrupted."""

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
from sali.prediction.result import Resumable
from sali.prediction.sources import Source
from sali.run.io import atomic_write, read_json, write_json
from sali.streaming import ClipRunner

log = logging.getLogger(__name__)

HEAD_BYTES = 65_536
"""Of a video, beside its size and time, to know it again."""

Counts = dict[str, int]
"""{"frames": ..., "skipped": ...} of one video."""


def fingerprint_video(path: Path) -> dict[str, Any]:
    """Size, time of last change, and hash of the first bytes."""
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
        status = os.fstat(file.fileno())
    return {"bytes": status.st_size, "changed_ns": status.st_mtime_ns, "head": head}


def fingerprint_file(path: Path) -> str:
    """Hash of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Jobs:
    """``.<clip>.job/`` beside the maps of every video, until the whole command is through.

    ``job.json`` says of what settings and which file the results are, and whether they are whole;
    ``state.pt`` is the last saved state: the segmenter's, the writers' and what was counted.

    Args:
        root: folder of the maps.
        settings: all that the results depend on, plain values.
        writers: by name.
        every: frames from one saved state to the next.

    Raises:
        ConfigError: ``every`` is no number of frames.
    """

    def __init__(
        self,
        root: Path,
        settings: Mapping[str, Any],
        writers: Mapping[str, Resumable],
        every: int,
    ) -> None:
        if every < 1:
            raise ConfigError(f"video.save_every is {every}; wanted frames, 1 or more")
        self.starts: dict[int, int] = {}
        """{number of a video: frame to begin with}, of those that are taken up."""
        self.before: dict[int, Counts] = {}
        """{number of a video: what was counted before that}."""
        self.whole: list[Counts] = []
        """Of videos that an interrupted run finished."""
        self._root = root
        self._settings = dict(settings)
        self._writers = dict(writers)
        self._every = every
        self._due = False
        self._saved: set[str] = set()
        self._touched: list[Path] = []

    def begin(self, sources: Sequence[Source], runner: ClipRunner) -> list[Source]:
        """Take up what was interrupted.

        Args:
            sources: all of the command, videos.
            runner: is given the state of a video that was saved.

        Returns:
            The videos of which results are still to be written, in order; ``starts`` and ``before``
            tell of them.
        """
        todo: list[Source] = []
        for video in sources:
            assert isinstance(video, Video)
            self._touched.append(self._folder(video))
            known = self._known(video)
            counts = (known or {}).get("counts")
            if counts is not None and (self._root / video.name).is_dir():
                log.info("%s: all of it was written before", video.name)
                self.whole.append(counts)
                continue
            state = self._restored(video) if known is not None else None
            if state is None:
                self._anew(video)
            else:
                self.starts[len(todo)] = state["runner"]["next_frame"]
                self.before[len(todo)] = state["counts"]
                runner.resume(len(todo), state["runner"])
                log.info("%s: goes on from frame %d", video.name, self.starts[len(todo)])
                self._saved.add(video.name)
            todo.append(video)
        return todo

    def _restored(self, video: Video) -> dict[str, Any] | None:
        """The saved state, its writers ready to go on; None if there is none or it does not fit."""
        path = self._folder(video) / "state.pt"
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

    def _anew(self, video: Video) -> None:
        folder = self._folder(video)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / "job.json", self._identity(video))

    def save(self, frame: StreamItem, video: Video, runner: ClipRunner, counts: Counts) -> None:
        """Save the state after a frame was pushed and its results were written, if it is time.

        Args:
            frame: the last one pushed.
            video: that it is of.
            runner: that it was pushed to.
            counts: of this video so far.
        """
        self._due = self._due or (frame.number + 1) % self._every == 0
        if not self._due or not isinstance(frame, Frame) or not counts["frames"]:
            return
        state = {
            "runner": runner.state(frame.clip),
            "writers": {name: one.save(video.name) for name, one in self._writers.items()},
            "counts": counts,
        }
        with atomic_write(self._folder(video) / "state.pt") as partial:
            torch.save(state, partial)
        self._due = False
        self._saved.add(video.name)

    @property
    def holds_state(self) -> bool:
        """Whether there is a video that can be taken up."""
        return bool(self._saved)

    def finish(self, video: Video, counts: Counts) -> None:
        """All results of a video are written."""
        folder = self._folder(video)
        known = {**self._identity(video), "counts": counts}
        write_json(folder / "job.json", known)
        (folder / "state.pt").unlink(missing_ok=True)
        self._saved.discard(video.name)
        self._due = False

    def close(self) -> None:
        """All results of all videos are written: the same command would begin anew."""
        for folder in self._touched:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, video: Video) -> Path:
        return job_folder(self._root, video)

    def _identity(self, video: Video) -> dict[str, Any]:
        return {"source": fingerprint_video(video.path), **self._settings}

    def _known(self, video: Video) -> dict[str, Any] | None:
        """``job.json``, if it is of this very job."""
        try:
            known = read_json(self._folder(video) / "job.json")
        except DataError:  # cut off
            known = {"source": None}
        if not known:
            return None
        wanted = self._identity(video)
        other = sorted(name for name in wanted if known.get(name) != wanted[name])
        if other:
            log.warning(
                "%s starts again: what was interrupted had another %s", video.name, ", ".join(other)
            )
            return None
        return known


def job_folder(root: Path, video: Video) -> Path:
    """Where a video's state is kept, beside its maps."""
    return root / f".{video.name}.job"


def forget(root: Path, videos: Sequence[Video]) -> None:
    """Drop what was kept: these videos begin anew."""
    for video in videos:
        shutil.rmtree(job_folder(root, video), ignore_errors=True)
