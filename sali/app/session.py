"""What one open page owns: a folder, an upload, a run; and the files of its result."""

import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sali.app.models import Options
from sali.app.play import ENDS, Engine, Play
from sali.data.datasets import FrameReader
from sali.data.frames import read_grey
from sali.data.samples import End, Frame, StreamItem
from sali.errors import ConfigError, DataError
from sali.prediction import FileSource, Result, Writer, load
from sali.prediction.loop import segment
from sali.prediction.sources import Batches
from sali.prediction.writers.tables import detection_tables, mask_files
from sali.prediction.writers.videos import overlay_videos
from sali.streaming import ClipRunner
from sali.streaming.clip_runner import Segmented

FAREWELL_SECONDS = 10.0  # a run ends after the frame that is under way
LEVELS = 255
NOTE = """\
{clip}: {frames} frames, {state}, {unreadable} not readable.
Model {model}, precision {precision}, memory of {max_frames} frames, every {every}. stored.
A pixel counts as polyp from a probability of {threshold:.4f} on.

Research software, not a medical device. Do not use it to guide an examination.
"""
Tell = Callable[[float], Any]


def between_levels(threshold: float) -> float:
    """Return the nearest threshold half-way between two grey levels of maps.

    With it a map says the same of every pixel as the probability that it was rounded from. 0.5 is
    one of them; no other moves by more than 0.002.
    """
    return (min(LEVELS, max(1, round(threshold * LEVELS + 0.5))) - 0.5) / LEVELS


class Kept(ClipRunner):
    """Results of a run read back from its maps, in place of a network's.

    Args:
        play: Run at its end.
        maps: Folder of its maps.
    """

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


class Session:
    """One page. Its methods may be called from any thread.

    Args:
        folder: Folder of its own, which nobody can guess.
        engine: What it shares with other pages.
        exporting: Arguments of `overlay_videos` for downloads.

    Attributes:
        upload: Video that was uploaded last.
        play: Run that was started last.
        threshold: Probability from which on a pixel is polyp.
        closed: Whether everything was deleted.
    """

    def __init__(
        self, folder: Path, engine: Engine, exporting: Mapping[str, Any], threshold: float
    ) -> None:
        self.folder = folder
        self.upload: FileSource | None = None
        self.play: Play | None = None
        self.threshold = between_levels(threshold)
        self._engine, self._exporting = engine, dict(exporting)
        self.closed = False
        self._doing = threading.RLock()

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
            home = self.folder / "upload"
            try:
                if self.active or self.closed:
                    raise ConfigError("a run is under way; cancel it before the next upload")
                self._engine.limits.open(file)
                self._forget()
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir(parents=True, mode=0o700)
                self.upload = self._engine.limits.open(Path(shutil.move(file, home)))
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
            is_upload = source is self.upload
            self.play = Play(self._engine, source, options, self.folder / "maps", is_upload)
            self.play.start()
            return self.play

    def set_threshold(self, threshold: float) -> None:
        """Draw with another threshold from now on; nothing is segmented again."""
        self.threshold = between_levels(threshold)
        if self.play is not None:
            self.play.tell()

    def cancel(self) -> None:
        """End a run after the frame that is under way, and wait for it."""
        if self.play is not None:
            self.play.cancel()
            self.play.join(FAREWELL_SECONDS)

    def export(self, tell: Tell) -> Path:
        """Return a ZIP of maps, overlay video and tables, with the threshold as it is now.

        The maps are those of the run; the rest is the same loop once more, with `Kept` in place of
        the network and the writers of `sali.predict`.

        Args:
            tell: Called with the part that is done, 0..1.

        Raises:
            DataError: There is no result, or it was deleted meanwhile.
        """
        with self._doing:
            play, folder = self.play, self.folder / "result"
            if play is None or self.active or not play.peaks:
                raise DataError("there is no result yet; run to the end or cancel first")
            shutil.rmtree(folder, ignore_errors=True)
            name, maps = play.source.name, self.folder / "maps" / play.source.name
            _, settings = self._engine.models.load(play.options.model, play.options.precision)
            reader = FrameReader(settings["image_size"], settings["decode"])
            loader = load([play.source], reader, 0, 0, 1, keep_pictures=True, starts={})
            threshold = self.threshold
            writers: list[Writer] = [
                overlay_videos(folder, threshold, **self._exporting),
                detection_tables(folder, threshold),
                mask_files(folder, threshold),
            ]
            frames = self._until_last(loader, play, tell)
            count = segment(
                frames, [play.source], Kept(play, maps), writers, skip_bad=True, quiet=True
            )
            if self.closed:
                raise DataError("the result was deleted; run again")
            about = {**vars(play.options), **vars(play), **count, "clip": name}
            (folder / "about.txt").write_text(NOTE.format(**about, threshold=threshold))
            packed = folder / f"{name}.zip"
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for file in sorted(p for p in folder.iterdir() if p != packed):
                    archive.write(file, file.name, zipfile.ZIP_DEFLATED)
                for file in sorted(maps.iterdir()):
                    archive.write(file, f"maps/{file.name}")
            return packed

    def _until_last(self, loader: Batches, play: Play, tell: Tell) -> Iterator[list[StreamItem]]:
        """Yield the frames up to the last one with a result; there the clip ends."""
        last = max(play.peaks)
        for (frame,) in loader:
            if self.closed:
                return
            if frame.number > last:
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
            self.upload = None
            shutil.rmtree(self.folder, ignore_errors=True)

    def _forget(self) -> None:
        self.cancel()
        self.play = None
        for name in ("maps", "result"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
