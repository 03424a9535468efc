"""The result of a job as files: overlay video, tables, and a note of how it came about."""

import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from sali.app.job import Job
from sali.data.samples import Frame
from sali.data.video.decoding import decode_video
from sali.data.video.files import Video
from sali.errors import FrameError
from sali.prediction import Recorded, Result
from sali.prediction.overlay_video import OverlayVideo
from sali.prediction.tables import DetectionTables
from sali.report.overlay import draw_overlay

NOTE = """\
{clip}: {frames} frames, {state}{unreadable}.
Model {model}, precision {precision}, memory of {max_frames} frames, every {every}. stored.
A pixel counts as polyp from a probability of {threshold:.4f} on.

Research software, not a medical device. Do not use it to guide an examination.
"""


class Stopped(Exception):  # noqa: N818 - no error
    """Nobody waits for the files any more."""


def write_result(
    job: Job,
    folder: Path,
    threshold: float,
    clip_rate: float,
    encoding: dict[str, Any],
    tell: Callable[[int, int], None],
) -> Path:
    """A ZIP of everything that a job found, drawn from its kept maps.

    Args:
        job: at its end; cancelled ones give what is there.
        folder: for the files.
        threshold: probability from which on a pixel is polyp, see ``between_levels``.
        clip_rate: frames per second of clips in frame files.
        encoding: see ``OverlayVideo``.
        tell: (frames written, of all); may raise ``Stopped``.

    Returns:
        ``<clip>.zip``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source, total = job.source, len(job.maps)
    base, rate = _clock(source, clip_rate)
    tables = DetectionTables(folder, threshold)
    overlay = OverlayVideo(folder / f"{source.name}.mp4", base, rate, **encoding)
    written = 0
    try:
        for result in _results(job, clip_rate):
            drawn = draw_overlay(result.picture, result.probability, threshold=threshold)
            overlay.write(drawn, result.frame.time)
            tables.write(result)
            written += 1
            tell(written, total)
            if written == total:
                break
    except BaseException:
        overlay.close(whole=False)
        tables.discard()
        raise
    overlay.close(whole=True)
    tables.finish(source.name)
    note = folder / "about.txt"
    unreadable = f", {job.unreadable} not readable" if job.unreadable else ""
    about = {**vars(job.options), "clip": source.name, "frames": written, "threshold": threshold}
    note.write_text(NOTE.format(**about, state=job.state, unreadable=unreadable))
    files = [folder / f"{source.name}{end}" for end in (".mp4", ".csv", ".json")]
    packed = folder / f"{source.name}.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in [*files, note]:
            kind = zipfile.ZIP_STORED if file.suffix == ".mp4" else zipfile.ZIP_DEFLATED
            archive.write(file, file.name, compress_type=kind)
            file.unlink()
    return packed


def _clock(source: Recorded, clip_rate: float) -> tuple[Fraction, Fraction]:
    if isinstance(source, Video):
        return source.time_base, source.rate
    rate = Fraction(clip_rate).limit_denominator(1000)
    return 1 / rate, rate


def _results(job: Job, clip_rate: float) -> Iterator[Result]:
    """Results of 8-bit maps, with the true peak where they round it."""
    for frame in _frames(job.source, clip_rate):
        if frame.number not in job.maps:
            continue
        probability = torch.from_numpy(job.maps.read(frame.number)).float().div_(255)
        peak = job.peaks[frame.number]
        probability.view(-1)[probability.argmax()] = peak
        probability.clamp_(max=peak)
        yield Result(job.source, frame, probability, [])


def _frames(source: Recorded, clip_rate: float) -> Iterator[Frame]:
    """The frames once more; Result reads those of folders itself."""
    if not isinstance(source, Video):
        rate = Fraction(clip_rate).limit_denominator(1000)
        for number in range(len(source.frames)):
            yield _segmented(number, number / rate)
        return
    try:
        for number, picture in enumerate(decode_video(source.path)):
            if picture.rgb is not None:
                yield _segmented(number, picture.time, torch.from_numpy(picture.rgb))
    except FrameError:
        return  # reported when it was segmented


def _segmented(number: int, time: Fraction, picture: torch.Tensor | None = None) -> Frame:
    """Return a frame whose image is not needed any more."""
    empty = torch.empty(0)
    return Frame(clip=0, number=number, image=empty, size=(0, 0), picture=picture, time=time)
