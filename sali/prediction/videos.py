"""Overlays of a video as a video."""

import logging
from pathlib import Path
from typing import Any

from sali.data.video import Video
from sali.figures.overlay import draw_overlay
from sali.figures.video import OverlayVideo
from sali.prediction.result import Result

log = logging.getLogger(__name__)


class OverlayVideos:
    """``<clip>.mp4``; one that is interrupted is kept as ``<clip>.partial.mp4``.

    Args:
        root: folder of the overlays.
        threshold: probability from which on a pixel is polyp.
        encoding: quality, preset and key frames, see ``OverlayVideo``.
    """

    def __init__(self, root: Path, threshold: float, encoding: dict[str, Any]) -> None:
        self.root = root
        self._threshold = threshold
        self._encoding = encoding
        self._open: dict[str, OverlayVideo] = {}

    def write(self, result: Result) -> None:
        video = result.source
        assert isinstance(video, Video)
        if video.name not in self._open:
            path = self.root / f"{video.name}.mp4"
            self._open[video.name] = OverlayVideo(
                path, video.time_base, video.rate, **self._encoding
            )
        drawn = draw_overlay(result.picture, result.probability, threshold=self._threshold)
        self._open[video.name].write(drawn, result.frame.time)

    def finish(self, clip: str) -> None:
        if clip in self._open:
            self._open.pop(clip).close(whole=True)

    def discard(self) -> None:
        for video in self._open.values():
            video.close(whole=False)
            log.warning("unfinished overlay, up to where it stopped: %s", video.partial)
