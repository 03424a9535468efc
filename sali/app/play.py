"""One run over one clip: the loop of `sali.prediction`, which can be paused and cancelled."""

import logging
import threading
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sali.app.models import LOOP, Models, Options
from sali.data.samples import IMAGENET_MEAN, IMAGENET_STD, End, Frame, StreamItem
from sali.data.video.files import Video, open_video
from sali.errors import DataError, UserError
from sali.prediction import FileSource, Result
from sali.prediction.loop import segment
from sali.prediction.sources import Batches, length_of
from sali.prediction.writers.pictures import map_pictures
from sali.streaming import ClipRunner

log = logging.getLogger(__name__)

ENDS = ("finished", "cancelled", "failed")


@dataclass(frozen=True)
class Limits:
    """Limits of an uploaded video; the decoder too refuses frames that are larger."""

    seconds: float
    max_pixels: int

    def open(self, path: Path) -> Video:
        """Return the video of an uploaded file, by its header."""
        try:
            video = open_video(path, self.max_pixels)
        except DataError as error:
            raise DataError(without_folder(str(error), path)) from error
        self.check_time(video, video.length / video.rate)
        return video

    def check_time(self, video: Video, seconds: Fraction) -> None:
        """Raise DataError for a video that lasts, or a frame that comes, longer than allowed."""
        if seconds > self.seconds:
            raise DataError(
                f"{video.path.name}: got {float(seconds):.0f} s, wanted up to {self.seconds:g} s; "
                "cut it"
            )


def without_folder(message: str, path: Path) -> str:
    """Return a message that names a file by its name alone: the server's folders are private."""
    for name in (path.absolute(), path):
        message = message.replace(f"{name.parent}/", "")
    return " ".join(message.split())


@dataclass(frozen=True)
class Latest:
    """The newest result.

    Attributes:
        result: Result of the prediction loop.
        index: Number among the segmented frames, from 0; the memory numbers frames so.
        rate: Frames per second; 0 before the second frame.
        latencies: Milliseconds from a decoded frame to its mask, of recent frames.
    """

    result: Result
    index: int
    rate: float
    latencies: list[float]


class PastFrame(NamedTuple):
    """A frame that the memory may hold: number in its clip, seconds, small RGB uint8 [h, w, 3]."""

    number: int
    time: float | None
    picture: np.ndarray


class Play(threading.Thread):
    """A run in a thread, from `start` to one of `ENDS`; a `Writer` that keeps the last result.

    Maps go to `root`; a sample has no limits. Speed and latency are those of `meter_frames` frames.

    Attributes:
        state: "loading", "running", "paused" or one of `ENDS`.
        message: Line for the user, about what went wrong.
        latest: The newest result.
        past: Segmented frames by the index under which the memory knows them.
        peaks: Largest probability of each segmented frame, by its number.
        unreadable: Number of frames that could not be decoded.
    """

    def __init__(
        self,
        models: Models,
        source: FileSource,
        options: Options,
        root: Path,
        limits: Limits | None,
        meter_frames: int,
        thumbnail_width: int,
    ) -> None:
        super().__init__(name=f"play {source.name}", daemon=True)
        self.source, self.options, self.root = source, options, root
        self.length = length_of(source)
        self.state = "loading"
        self.message = ""
        self.latest: Latest | None = None
        self.past: dict[int, PastFrame] = {}
        self.peaks: dict[int, float] = {}
        self.unreadable = 0
        self._models, self._limits, self._width = models, limits, thumbnail_width
        self._arrived = 0.0
        self._meter: deque[tuple[float, float]] = deque(maxlen=meter_frames)  # arrived, done
        self._wishes = threading.Condition()
        self._steps = inf  # frames until it pauses
        self._cancelled = False

    # What a user does

    @property
    def paused(self) -> bool:
        return self._steps != inf

    def go(self, steps: float = inf) -> None:
        """Segment `steps` frames, then pause; 0 pauses now."""
        with self._wishes:
            self._steps = steps
            self._wishes.notify()

    def cancel(self) -> None:
        """End after the frame that is under way."""
        with self._wishes:
            self._cancelled = True
            self._wishes.notify()

    # The thread

    def run(self) -> None:
        try:
            self._segment()
            self.state = "cancelled" if self._cancelled else "finished"
        except UserError as error:
            self.message, self.state = self._readable(str(error)), "failed"
        except Exception as error:
            log.exception("the run over %s failed", self.source.name)
            self.message = f"the run stopped: {type(error).__name__}: {error}"
            self.state = "failed"

    def _segment(self) -> None:
        segmenter = self._models.segmenter(self.options)
        loader = self._models.frames(self.source, self.options)
        self.state = "running"
        maps = map_pictures(self.root, "probability")
        with closing(self._frames(loader)) as frames:
            runner = ClipRunner(lambda: segmenter)
            segment(frames, [self.source], runner, [maps, self], LOOP)
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
                    if self._limits and isinstance(self.source, Video):
                        self._limits.check_time(self.source, item.time - start)
                elif item.error:
                    self.unreadable += max(1, item.lost if isinstance(item, End) else 0)
                    self.message = self.message or self._readable(item.error)
                if not self._may_continue():
                    item = End(clip=0, number=item.number)
                self._arrived = time.perf_counter()
                with self._models.turns.taken():
                    yield [item]
                if item.is_last:
                    return

    def _may_continue(self) -> bool:
        """Wait while paused; False once it is cancelled."""
        with self._wishes:
            if not self._steps and not self._cancelled:
                self.state = "paused"
                self._wishes.wait_for(lambda: self._steps or self._cancelled)
                self._meter.clear()  # a pause is not slowness
                self.state = "running"
            self._steps -= 1
        return not self._cancelled

    def _readable(self, message: str) -> str:
        source = self.source
        return without_folder(
            message, source.path if isinstance(source, Video) else source.frames[0]
        )

    # A writer of the loop

    def write(self, result: Result) -> None:
        """Keep the newest result, and of the others a small picture and the peak."""
        index, number = len(self.peaks), result.frame.number
        self._meter.append((self._arrived, time.perf_counter()))
        latencies = [1000 * (done - arrived) for arrived, done in self._meter]
        span = self._meter[-1][1] - self._meter[0][1]
        rate = (len(latencies) - 1) / span if span else 0.0
        self.past[index] = PastFrame(number, result.time, thumbnail(result.frame, self._width))
        self.latest = Latest(result, index, rate, latencies)
        self.peaks[number] = float(result.probability.max())  # last: a page looks at their number

    def finish(self, clip: str) -> None:
        """Nothing is left to do: results stay until the page is gone."""

    def discard(self) -> None:
        """Nothing is half: every result is whole."""


def thumbnail(frame: Frame, width: int) -> np.ndarray:
    """Return what the network saw of a frame, in the frame's own shape, RGB uint8 [h, width, 3]."""
    height = max(1, round(width * frame.size[0] / frame.size[1]))
    small = cv2.resize(frame.image.permute(1, 2, 0).numpy(), (width, height))
    pixels = 255 * (small * np.asarray(IMAGENET_STD) + np.asarray(IMAGENET_MEAN))
    return pixels.round().clip(0, 255).astype(np.uint8)
