"""Overlays as videos."""

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sali.data.index import Clip
from sali.data.video.files import Video
from sali.prediction.result import Result
from sali.prediction.sources import Source
from sali.prediction.writers.mp4 import OverlayVideo
from sali.report.overlay import draw_overlay, draw_time

log = logging.getLogger(__name__)


class OverlayVideos:
    """Overlays as `<clip>.mp4`; an unfinished one is kept as `<clip>.partial.mp4`.

    Args:
        root: Folder of the overlays.
        threshold: Probability from which on a pixel is polyp.
        show_time: Whether to write the time of the frame into a corner.
        side_by_side: Whether to show the frame on the left and the overlay on the right.
        clip_rate: Frames per second of clips in frame files, which have no times; None where there
            are only videos.
        **encoding: Quality, preset and key frames, see `OverlayVideo`.
    """

    def __init__(
        self,
        root: Path,
        threshold: float,
        show_time: bool,
        side_by_side: bool,
        clip_rate: float | None = None,
        **encoding: Any,
    ) -> None:
        self.root = root
        self._threshold = threshold
        self._show_time = show_time
        self._side_by_side = side_by_side
        self._clip_rate = Fraction(clip_rate or 1).limit_denominator(1000)
        self._encoding = encoding
        self._open: dict[str, OverlayVideo] = {}

    def write(self, result: Result) -> None:
        picture, source = result.picture, result.source
        if source.name not in self._open:
            aspect = _pixel_aspect(source, (picture.shape[0], picture.shape[1]))
            self._open[source.name] = self._begin(source, pixel_aspect=aspect)
        drawn = draw_overlay(picture, result.probability, threshold=self._threshold)
        is_clip = isinstance(source, Clip)
        time = result.frame.number / self._clip_rate if is_clip else result.frame.time
        if self._show_time:
            draw_time(drawn, float(max(time, Fraction(0))))
        if self._side_by_side:
            drawn = np.hstack([picture, drawn])
        self._open[source.name].write(drawn, time)

    def _begin(self, source: Source, **more: Any) -> OverlayVideo:
        path, rate = self.root / f"{source.name}.mp4", self._clip_rate
        base, rate = (
            (1 / rate, rate) if isinstance(source, Clip) else (source.time_base, source.rate)
        )
        return OverlayVideo(path, base, rate, **self._encoding, **more)

    def save(self, clip: str) -> dict[str, Any]:
        return self._open[clip].save()

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        self._open[source.name] = self._begin(source, saved=state)

    def finish(self, clip: str) -> None:
        if clip in self._open:
            self._open.pop(clip).close(whole=True)

    def suspend(self) -> None:
        self.discard()

    def discard(self) -> None:
        for video in self._open.values():
            video.close(whole=False)
            log.warning("unfinished overlay, up to where it stopped: %s", video.partial)
        self._open.clear()


def _pixel_aspect(source: Source, shown: tuple[int, int]) -> Fraction:
    """Return width over height of a pixel in frames that are shown with (H, W) pixels."""
    if isinstance(source, Clip):
        return Fraction(1)
    is_turned = isinstance(source, Video) and shown == source.size[::-1] != source.size
    return 1 / source.pixel_aspect if is_turned else source.pixel_aspect
