"""What one open page owns: a folder, an upload, a run; and the files of its result."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sali.app.models import LOOP, Models, Options
from sali.app.play import ENDS, Limits, Play
from sali.data.frames import read_grey
from sali.data.samples import End, Frame, StreamItem
from sali.errors import ConfigError, DataError
from sali.metrics.operating_point import OperatingPoint
from sali.prediction import FileSource, Result, Writer
from sali.prediction.loop import segment
from sali.prediction.sources import Batches
from sali.prediction.writers.tables import detection_tables, mask_files
from sali.prediction.writers.videos import overlay_videos
from sali.streaming import ClipRunner
from sali.streaming.clip_runner import Segmented

FAREWELL_SECONDS = 10.0  # a run ends after the frame that is under way
LEVELS = 255
NOTE = """\
{play.source.name}: {frames} frames, {play.state}, {play.unreadable} not readable.
Model {options.model}, precision {options.precision}, memory of {options.max_frames} frames, \
every {options.every}. stored.
A pixel counts as polyp from a probability of {threshold:.4f} on, in regions of at least
{min_region:.2%} of the image and of a mean probability of at least {confidence:.4f}.

Research software, not a medical device. Do not use it to guide an examination.
"""


def between_levels(threshold: float) -> float:
    """Return the nearest threshold half-way between two grey levels of maps.

    With it a map says the same of every pixel as the probability that it was rounded from. 0.5 is
    one of them; no other moves by more than 0.002.
    """
    return (min(LEVELS, max(1, round(threshold * LEVELS + 0.5))) - 0.5) / LEVELS


class Kept(ClipRunner):
    """Results of a run that ended, read back from its maps, in place of a network's."""

    def __init__(self, play: Play, maps: Path) -> None:
        self._play, self._maps = play, maps

    def push(self, frames: Sequence[StreamItem]) -> Iterator[Segmented]:
        """Yield the results of these frames, with the true peak where a map rounds it."""
        for frame in frames:
            if isinstance(frame, Frame) and frame.number in self._play.peaks:
                stem = Result(self._play.source, frame, torch.empty(0), None).stem
                grey = read_grey(self._maps / f"{stem}.png")
                probability = torch.from_numpy(grey).float().div_(LEVELS)
                peak = self._play.peaks[frame.number]
                probability.view(-1)[probability.argmax()] = peak
                yield Segmented(frame, probability.clamp_(max=peak), None)


@dataclass(eq=False)
class Session:
    """One page, with a folder that nobody can guess. Its methods may be called from any thread.

    It holds the video that was uploaded last, the run that was started last, and which pixels are
    polyp, until it is closed. `playing` are further arguments of `Play`, `exporting` those of
    `overlay_videos`.
    """

    folder: Path
    models: Models
    limits: Limits
    playing: Mapping[str, int]
    exporting: Mapping[str, Any]
    point: OperatingPoint

    def __post_init__(self) -> None:
        cut = between_levels(self.point.cut)
        self.point = self._fitted = replace(self.point, threshold=cut, temperature=1.0)
        self.upload: FileSource | None = None
        self.play: Play | None = None
        self.closed = False
        self._doing = threading.RLock()

    @property
    def threshold(self) -> float:
        """Probability from which on a pixel is polyp."""
        return self.point.threshold

    @property
    def active(self) -> bool:
        """Whether a run is under way."""
        return self.play is not None and self.play.state not in ENDS

    def take_upload(self, file: Path) -> None:
        """Move an uploaded file into the session, in place of the one before.

        Raises:
            UserError: A file that cannot be used; it is deleted.
        """
        with self._doing:
            try:
                if self.active or self.closed:
                    raise ConfigError("a run is under way; cancel it before the next upload")
                self.limits.open(file)
                self._forget("upload")
                home = self.folder / "upload"
                home.mkdir(parents=True, mode=0o700)
                self.upload = self.limits.open(Path(shutil.move(file, home)))
            finally:
                file.unlink(missing_ok=True)

    def start(self, source: FileSource, options: Options) -> Play:
        """Run over a source; the result before is forgotten.

        Raises:
            ConfigError: A run is under way, or the page was closed.
        """
        with self._doing:
            if self.closed or self.active:
                raise ConfigError("a run is under way; cancel it first")
            self._forget()
            limits = self.limits if source is self.upload else None
            maps = self.folder / "maps"
            self.play = Play(self.models, source, options, maps, limits, **self.playing)
            self.play.start()
            return self.play

    def set_threshold(self, threshold: float) -> None:
        """Draw with another threshold from now on; nothing is segmented again.

        A threshold stands alone, but for that of the operating point.
        """
        alone = OperatingPoint(between_levels(threshold))
        self.point = self._fitted if alone.threshold == self._fitted.threshold else alone

    def cancel(self) -> None:
        """End a run after the frame that is under way, and wait for it."""
        if self.play is not None:
            self.play.cancel()
            self.play.join(FAREWELL_SECONDS)

    def export(self, tell: Callable[[float], Any]) -> Path:
        """Return a ZIP of maps, overlay video and tables, with the threshold as it is now.

        The maps are those of the run; the rest is the same loop once more, with `Kept` in place of
        the network and the writers of `sali.predict`. `tell` is called with the part that is done.

        Raises:
            DataError: There is no result, or it was deleted meanwhile.
        """
        with self._doing:
            play, point, folder = self.play, self.point, self.folder / "result"
            if play is None or self.active or not play.peaks:
                raise DataError("there is no result yet; run to the end or cancel first")
            shutil.rmtree(folder, ignore_errors=True)
            name, options = play.source.name, play.options
            maps, files = self.folder / "maps" / name, folder / "files"
            loader = self.models.frames(play.source, options)
            writers: list[Writer] = [
                overlay_videos(files, point, **self.exporting),
                detection_tables(files, point),
                mask_files(files, point),
            ]
            frames = self._until_last(loader, max(play.peaks), tell)
            segment(frames, [play.source], Kept(play, maps), writers, LOOP)
            if self.closed:
                raise DataError("the result was deleted; run again")
            about = {"play": play, "options": options, "frames": len(play.peaks)}
            (files / "about.txt").write_text(NOTE.format(**about, **asdict(point)))
            shutil.copytree(maps, files / "maps", copy_function=os.link)
            return Path(shutil.make_archive(str(folder / name), "zip", files))

    def _until_last(
        self, loader: Batches, last: int, tell: Callable[[float], Any]
    ) -> Iterator[list[StreamItem]]:
        """Yield the frames up to the last one with a result; there the clip ends."""
        for (frame,) in loader:
            if self.closed or frame.number > last:
                break
            tell((frame.number + 1) / (last + 1))
            yield [frame]
            if frame.is_last:
                return
        yield [End(clip=0, number=last + 1)]

    def close(self) -> None:
        """Cancel what runs and delete everything; may be called again."""
        self.closed = True
        with self._doing:
            self._forget()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _forget(self, *more: str) -> None:
        self.cancel()
        self.play = None
        for name in ("maps", "result", *more):
            shutil.rmtree(self.folder / name, ignore_errors=True)
