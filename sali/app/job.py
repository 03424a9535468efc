"""One run over one clip: frames in, results out."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sali.app.kept_maps import KeptMaps
from sali.app.limits import Limits, without_folder
from sali.app.meter import Meter, Speed
from sali.app.models import Models, Options
from sali.app.reads import Album, PastFrame
from sali.app.seats import Seats
from sali.data.datasets import ClipFrames, FrameReader
from sali.data.samples import End, Frame, StreamItem, Unreadable
from sali.data.video.files import Video, VideoFrames
from sali.errors import DataError, UserError
from sali.prediction import Recorded, Result
from sali.prediction.sources import length_of
from sali.streaming import ClipRunner, StreamSegmenter
from sali.streaming.clip_runner import Segmented
from sali.streaming.maps import to_map

log = logging.getLogger(__name__)


class State(StrEnum):
    """Of a job; the last three are ends."""

    WAITING = "waiting"
    LOADING = "loading"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDS = (State.FINISHED, State.CANCELLED, State.FAILED)


@dataclass(frozen=True)
class Engine:
    """What all jobs share.

    Attributes:
        models: networks.
        seats: who may run.
        forward: of one thread, which computes one frame at a time; first come, first served, and a
            job hands in one frame at a time, so frames of several jobs take turns.
        limits: of videos; durations and sizes that no header told are checked as frames come.
        meter_frames: last frames of which speed is told.
        album: how past frames are kept.
    """

    models: Models
    seats: Seats
    forward: ThreadPoolExecutor
    limits: Limits
    meter_frames: int
    album: Album


@dataclass(frozen=True)
class Latest:
    """The newest result and where the run stood."""

    result: Result
    past: Mapping[int, PastFrame]
    """By the number under which the memory knows them: unreadable frames have none."""
    memory_frames: float
    """What the memory holds, in whole frames."""
    speed: Speed | None
    ready: float
    """When the mask was there, seconds since 1970."""


@dataclass(frozen=True)
class _Step:
    """A result, and the memory when it was made."""

    segmented: Segmented
    index: int
    stored: Counter[int]
    """Elements in the memory of each past frame."""
    memory_frames: float


class Job(threading.Thread):
    """Runs from ``start`` to one of ``ENDS``; nothing of it raises in the thread.

    Args:
        engine: shared with other jobs.
        source: what is segmented.
        options: picked by the user.
        folder: where its maps are kept.
        changed: is called whenever there is something new to be shown.
        is_upload: limits of durations hold.
    """

    def __init__(
        self,
        engine: Engine,
        source: Recorded,
        options: Options,
        folder: Path,
        changed: Callable[[], None],
        is_upload: bool,
    ) -> None:
        super().__init__(name=f"job {source.name}", daemon=True)
        self.source = source
        self.options = options
        self.length = length_of(source)
        self.state = State.WAITING
        self.position = 0
        self.message = ""
        self.latest: Latest | None = None
        self.frames = 0
        self.unreadable = 0
        self.peaks: dict[int, float] = {}
        folder.mkdir(parents=True)
        self.maps = KeptMaps(folder / "maps")
        self._engine = engine
        self._changed = changed
        self._is_upload = is_upload
        self._meter = Meter(engine.meter_frames)
        self._any_readable = False
        self._cancelled = threading.Event()
        self._may_run = threading.Event()
        self._may_run.set()

    # What a user does

    @property
    def paused(self) -> bool:
        """Whether it is, or is about to be."""
        return not self._may_run.is_set()

    def pause(self) -> None:
        self._may_run.clear()
        self._changed()

    def resume(self) -> None:
        self._may_run.set()
        self._changed()

    def cancel(self) -> None:
        """Ends after the frame that is under way."""
        self._cancelled.set()
        self._may_run.set()
        self._engine.seats.leave(self)

    # The thread

    def run(self) -> None:
        self._engine.seats.join(self)
        try:
            # One who cancelled before it joined would not be missed from the line.
            if not self._cancelled.is_set() and self._engine.seats.wait(self, self._moved):
                self._turn(State.LOADING)
                self._segment()
            self._turn(State.CANCELLED if self._cancelled.is_set() else State.FINISHED)
        except UserError as error:
            self.message = self._readable(error)
            self._turn(State.FAILED)
        except Exception as error:
            log.exception("job over %s failed", self.source.name)
            self.message = f"the run stopped: {type(error).__name__}: {error}"
            self._turn(State.FAILED)
        finally:
            self._engine.seats.leave(self)
            self.maps.close()

    def _moved(self, position: int) -> None:
        self.position = position
        self._changed()

    def _turn(self, state: State) -> None:
        self.state = state
        self._changed()

    def _readable(self, error: UserError | str) -> str:
        source = self.source
        path = source.path if isinstance(source, Video) else source.frames[0]
        return without_folder(" ".join(str(error).split()), path)

    def _segment(self) -> None:
        models, options = self._engine.models, self.options
        segmenter = models.segmenter(options)
        settings = models.settings(options.model)
        runner = ClipRunner(lambda: segmenter)
        reader = FrameReader(settings["image_size"], settings["decode"])
        self._turn(State.RUNNING)
        under_way: tuple[Future[list[_Step]], float] | None = None
        for frame in self._frames(reader):
            # The network computes a frame while this thread decodes the one after it.
            arrived = time.perf_counter()
            before, ended = self._wait_for(under_way)
            if not self._gate():
                under_way = None
                self._keep(before, ended)
                break
            forward = self._engine.forward.submit(_step, runner, segmenter, frame)
            under_way = forward, arrived
            self._keep(before, ended)
        self._keep(*self._wait_for(under_way))

    def _wait_for(
        self, under_way: tuple[Future[list[_Step]], float] | None
    ) -> tuple[list[_Step], float]:
        if under_way is None:
            return [], 0
        forward, arrived = under_way
        steps, end = forward.result(), time.perf_counter()
        for _ in steps:
            self._meter.count(arrived, end)
        return steps, time.time()

    def _gate(self) -> bool:
        """Waits while paused; False once it is cancelled."""
        if not self._may_run.is_set():
            self._turn(State.PAUSED)
            self._may_run.wait()
            self._meter.pause()
            if not self._cancelled.is_set():
                self._turn(State.RUNNING)
        return not self._cancelled.is_set()

    def _frames(self, reader: FrameReader) -> Iterator[StreamItem]:
        source, first = self.source, None
        if isinstance(source, Video):
            frames: Iterator[StreamItem] = iter(
                VideoFrames([source], reader.image_size, keep_pictures=True)
            )
        else:
            clip = ClipFrames([source], reader, with_masks=False, keep_bad=True)
            frames = (clip[i] for i in range(len(clip)))
        for frame in frames:
            if isinstance(frame, Frame):
                self._any_readable = True
                if isinstance(source, Video):
                    first = frame.time if first is None else first
                    self._check(source, frame, float(frame.time - first))
            elif frame.error:
                self._unreadable(frame)
            yield frame

    def _check(self, video: Video, frame: Frame, since: float) -> None:
        if self._is_upload:
            self._engine.limits.check_seconds(video.path.name, since)
            self._engine.limits.check_pixels(video.path.name, *frame.size)

    def _unreadable(self, frame: Unreadable | End) -> None:
        lost = frame.lost if isinstance(frame, End) else 0
        self.unreadable += max(1, lost)
        if frame.is_last and not self._any_readable:
            raise DataError(frame.error)  # nothing of it could be decoded
        log.warning("left out: %s", frame.error)
        if not self.message or lost:
            self.message = self._readable(frame.error)

    def _keep(self, steps: list[_Step], ready: float) -> None:
        album = self._engine.album
        for step in steps:
            result = Result(self.source, *step.segmented)
            number = result.frame.number
            self.maps.add(number, to_map(result.tensor, "probability").cpu().numpy())
            self.peaks[number] = float(result.probability.max())
            past = dict(self.latest.past) if self.latest else {}
            if step.index in step.stored:
                past[step.index] = album.picture(number, result.time, result.picture)
            past = album.still_there(past, step.stored)
            self.frames += 1
            self.latest = Latest(result, past, step.memory_frames, self._meter.speed(), ready)
        if steps:
            self._changed()


def _step(runner: ClipRunner, segmenter: StreamSegmenter, frame: StreamItem) -> list[_Step]:
    """In the forward thread, so that no later frame changes the memory meanwhile."""
    steps = []
    for segmented in runner.push([frame]):
        levels = getattr(getattr(segmenter.video, "bank", None), "levels", [])
        stored: Counter[int] = Counter()
        for level in levels:
            counts = level.frame.bincount()
            stored.update({n: int(counts[n]) for n in counts.nonzero()[:, 0].tolist()})
        held = 0.0
        if levels:
            held = segmenter.video.statistics()["memory_frames"]
        steps.append(_Step(segmented, segmented.frame.number, stored, held))
    return steps
