"""One run over one clip: the loop of `sali.prediction`, which can be paused and cancelled."""

import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from sali.app.models import Models, Options
from sali.app.past import Album
from sali.app.uploads import Limits, without_folder
from sali.data.datasets import FrameReader
from sali.data.samples import End, Frame, StreamItem
from sali.data.video.files import Video
from sali.errors import UserError
from sali.prediction import FileSource, Result, load
from sali.prediction.loop import segment
from sali.prediction.sources import Batches, length_of
from sali.prediction.writers.pictures import map_pictures
from sali.streaming import ClipRunner

log = logging.getLogger(__name__)

ENDS = ("finished", "cancelled", "failed")


class Turns:
    """A line in which the frames of all users wait for the network: first come, first served."""

    def __init__(self) -> None:
        self._line: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and keep it while this is entered."""
        place = object()
        with self._moved:
            self._line.append(place)
            self._moved.wait_for(lambda: self._line[0] is place)
        try:
            yield
        finally:
            with self._moved:
                self._line.popleft()
                self._moved.notify_all()


@dataclass(frozen=True)
class Engine:
    """What all runs share.

    Attributes:
        models: Networks.
        limits: Limits of uploads.
        meter_frames: Number of recent frames used for the displayed speed and latency.
        thumbnails: Arguments of each run's `Album`.
        turns: Line for the network.
    """

    models: Models
    limits: Limits
    meter_frames: int
    thumbnails: Mapping[str, int]
    turns: Turns = field(default_factory=Turns)


@dataclass(frozen=True)
class Latest:
    """The newest result.

    Attributes:
        result: Result of the prediction loop.
        index: Number among the segmented frames, from 0; the memory numbers frames so.
        rate: Frames per second; 0 before the second frame.
        latency: Milliseconds from a decoded frame to its mask, (mean, 95 % quantile).
    """

    result: Result
    index: int
    rate: float
    latency: tuple[float, float]


class Play(threading.Thread):
    """A run in a thread, from `start` to one of `ENDS`; a `Writer` that keeps the last result.

    Args:
        engine: What it shares with other runs.
        source: Clip or video.
        options: What the user picked.
        root: Folder of its maps.
        is_upload: Whether the limits of uploads hold.

    Attributes:
        state: "loading", "running", "paused" or one of `ENDS`.
        message: Line for the user, about what went wrong.
        latest: The newest result.
        album: Pictures of past frames.
        peaks: Largest probability of each segmented frame, by its number.
        unreadable: Number of frames that could not be decoded.
    """

    def __init__(
        self, engine: Engine, source: FileSource, options: Options, root: Path, is_upload: bool
    ) -> None:
        super().__init__(name=f"play {source.name}", daemon=True)
        self.source, self.options, self.root = source, options, root
        self.length = length_of(source)
        self.state = "loading"
        self.message = ""
        self.latest: Latest | None = None
        self.peaks: dict[int, float] = {}
        self.unreadable = 0
        self.album = Album(**engine.thumbnails)
        self._engine = engine
        self._is_upload = is_upload
        self._arrived = 0.0
        self._ends: deque[float] = deque(maxlen=engine.meter_frames)
        self._latencies: deque[float] = deque(maxlen=engine.meter_frames)
        self._news = threading.Condition()
        self._version = 0
        self._steps: float = float("inf")  # frames until it pauses
        self._cancelled = False

    # What a user does

    @property
    def paused(self) -> bool:
        return self._steps != float("inf")

    def go(self, steps: float = float("inf")) -> None:
        """Segment `steps` frames, then pause; 0 pauses now."""
        with self._news:
            self._steps = steps
            self.tell()

    def cancel(self) -> None:
        """End after the frame that is under way."""
        with self._news:
            self._cancelled = True
            self.tell()

    # News for the page

    def tell(self) -> None:
        """Wake up whoever follows: something is to be shown."""
        with self._news:
            self._version += 1
            self._news.notify_all()

    def wait(self, seen: int) -> int:
        """Wait for something newer than a version that was shown; return its version."""
        with self._news:
            self._news.wait_for(lambda: self._version > seen)
            return self._version

    # The thread

    def run(self) -> None:
        try:
            self._segment()
            self._turn("cancelled" if self._cancelled else "finished")
        except UserError as error:
            self.message = self._readable(str(error))
            self._turn("failed")
        except Exception as error:
            log.exception("the run over %s failed", self.source.name)
            self.message = f"the run stopped: {type(error).__name__}: {error}"
            self._turn("failed")

    def _segment(self) -> None:
        segmenter = self._engine.models.segmenter(self.options)
        _, settings = self._engine.models.load(self.options.model, self.options.precision)
        reader = FrameReader(settings["image_size"], settings["decode"])
        loader = load([self.source], reader, 0, 0, 1, keep_pictures=True, starts={})
        self._turn("running")
        maps = map_pictures(self.root, "probability")
        with closing(self._frames(loader)) as frames:
            runner = ClipRunner(lambda: segmenter)
            segment(frames, [self.source], runner, [maps, self], skip_bad=True, quiet=True)
        if not self.peaks and not self._cancelled:
            raise UserError(self.message)

    def _frames(self, loader: Batches) -> Generator[list[StreamItem]]:
        """Yield the frames of the loader, one by one; wait while the user has paused.

        The next one is decoded while the network works on the one before. A cancelled run ends
        like a video does.
        """
        start: Fraction | None = None
        with ThreadPoolExecutor(1, "decode") as decoding:
            coming = iter(loader)
            ahead = decoding.submit(next, coming, None)
            while (items := ahead.result()) is not None:
                (item,) = items
                ahead = decoding.submit(next, coming, None)
                if isinstance(item, Frame):
                    start = item.time if start is None else start
                    if self._is_upload and isinstance(self.source, Video):
                        self._engine.limits.check_frame(self.source, item, item.time - start)
                elif item.error:
                    self.unreadable += max(1, item.lost if isinstance(item, End) else 0)
                    self.message = self.message or self._readable(item.error)
                if not self._may_continue():
                    item = End(clip=0, number=item.number)
                self._arrived = time.perf_counter()
                with self._engine.turns.taken():
                    yield [item]
                if item.is_last:
                    return

    def _may_continue(self) -> bool:
        """Wait while paused; False once it is cancelled."""
        with self._news:
            if not self._steps and not self._cancelled:
                self._turn("paused")
                self._news.wait_for(lambda: self._steps or self._cancelled)
                self._ends.clear()  # a pause is not slowness
                self._turn("running")
            self._steps -= 1
        return not self._cancelled

    def _turn(self, state: str) -> None:
        self.state = state
        self.tell()

    def _readable(self, message: str) -> str:
        source = self.source
        return without_folder(
            message, source.path if isinstance(source, Video) else source.frames[0]
        )

    # A writer of the loop

    def write(self, result: Result) -> None:
        """Keep the newest result, and of the others the peak, which maps round."""
        number, end = result.frame.number, time.perf_counter()
        self.peaks[number] = float(result.probability.max())
        self._ends.append(end)
        self._latencies.append(1000 * (end - self._arrived))
        span = self._ends[-1] - self._ends[0]
        rate = (len(self._ends) - 1) / span if span else 0.0
        latency = (
            statistics.fmean(self._latencies),
            float(np.quantile(self._latencies, 0.95)),
        )
        index = len(self.peaks) - 1
        self.album.add(index, result)
        self.latest = Latest(result, index, rate, latency)
        self.tell()

    def finish(self, clip: str) -> None:
        """Nothing is left to do: results stay until the page is gone."""

    def discard(self) -> None:
        """Nothing is half: every result is whole."""
