"""Overlays as videos: H.264 in MP4 that survives an interruption."""

import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container.output import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sali.data.index import Clip
from sali.data.video.decoding import open_file
from sali.data.video.files import Video
from sali.errors import DataError
from sali.metrics.operating_point import OperatingPoint
from sali.prediction.result import MARK, ClipWriter, Result
from sali.prediction.sources import Source
from sali.report.overlay import draw_overlay, draw_time
from sali.run.io import atomic_write

log = logging.getLogger(__name__)


def overlay_videos(
    root: Path,
    point: OperatingPoint,
    show_time: bool,
    side_by_side: bool,
    clip_rate: float | None = None,
    **encoding: Any,
) -> ClipWriter:
    """Return a writer of `<clip>.mp4`; an unfinished one is kept as `<clip>.partial.mp4`.

    Clips in frame files have no times; they play with `clip_rate` frames per second. Further
    arguments are those of `OverlayVideo`.
    """
    rate = Fraction(clip_rate or 1).limit_denominator(1000)

    def begin(source: Source, saved: dict[str, Any] | None) -> _Overlay:
        times = (1 / rate, rate) if isinstance(source, Clip) else (source.time_base, source.rate)
        video = OverlayVideo(root / f"{source.name}.mp4", *times, **encoding, saved=saved)

        def draw(result: Result) -> None:
            drawn = draw_overlay(result.picture, result.probability, point=point)
            time = result.frame.number / rate if result.time is None else result.frame.time
            if show_time:
                draw_time(drawn, float(max(time, Fraction(0))))
            aspect = _pixel_aspect(source, (drawn.shape[0], drawn.shape[1]))
            if side_by_side:
                drawn = np.hstack([result.picture, drawn])
            video.write(drawn, time, aspect)

        return _Overlay(video, draw)

    return ClipWriter(root, begin, suffix=".mp4", knows=_is_own)


def _is_own(path: Path) -> bool:
    try:
        with open_file(path) as file:
            return file.metadata.get("comment") == MARK
    except (OSError, av.error.FFmpegError):
        return False


def _pixel_aspect(source: Source, shown: tuple[int, int]) -> Fraction:
    """Return width over height of a pixel in frames that are shown with (H, W) pixels."""
    if isinstance(source, Clip):
        return Fraction(1)
    is_turned = isinstance(source, Video) and shown == source.size[::-1] != source.size
    return 1 / source.pixel_aspect if is_turned else source.pixel_aspect


class _Overlay:
    """The overlay of one clip."""

    def __init__(self, video: "OverlayVideo", draw: Callable[[Result], None]) -> None:
        self._video = video
        self.write = draw
        self.save = video.save

    def close(self, whole: bool) -> None:
        self._video.close(whole)
        if not whole:
            log.warning("unfinished overlay, up to where it stopped: %s", self._video.partial)

    def suspend(self) -> None:
        self.close(whole=False)


class OverlayVideo:
    """H.264 in MP4, written frame by frame as `<stem>.partial.mp4`, renamed when it is whole.

    An unfinished one keeps that name and plays as far as it goes: it consists of fragments, one for
    each key frame. The whole one is an ordinary MP4 with its index in front.

    `save` writes all pictures so far to disk and starts a new encoder, with a key frame. A video
    that is resumed there is cut back to that byte; it has the pictures, times and number of frames
    of one that was never interrupted, if not the same bytes, as an encoder promises none.

    Args:
        path: Whole file, `<stem>.mp4`.
        time_base: Seconds of which times of frames are multiples.
        rate: Frames per second, the mean where it varies.
        quality: crf of x264; lower is better and larger.
        preset: Preset of x264, speed against size.
        key_frame_every: Frames between key frames: what a killed process loses at most.
        saved: What `save` returned, to continue the partial file there.

    Raises:
        DataError: The partial file does not hold what was saved.
    """

    def __init__(
        self,
        path: Path,
        time_base: Fraction,
        rate: Fraction,
        quality: int,
        preset: str,
        key_frame_every: int,
        saved: dict[str, Any] | None = None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._time_base, self._rate = time_base, rate
        # Without B frames every picture is written when it comes, and times stay what they are.
        self._options = {"crf": str(quality), "preset": preset, "bf": "0"}
        self._options["g"] = str(key_frame_every)
        saved = saved or {}
        self._file = _Fragments(self.partial, saved.get("bytes", 0))
        self._size: tuple[int, int] | None = saved.get("size")
        self._first: Fraction | None = Fraction(saved["first"]) if saved else None
        self._last = saved.get("last", -1)
        self._muxer: tuple[OutputContainer, VideoStream] | None = None

    def __enter__(self) -> "OverlayVideo":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close(whole=kind is None)

    def write(
        self, picture: np.ndarray, time: Fraction, pixel_aspect: Fraction = Fraction(1)
    ) -> None:
        """Append a picture.

        The first one is at zero; all others keep their distance to it. Odd sizes are padded to even
        ones, as H.264 with yuv420p wants; pictures of another size than the first are scaled to it.

        Args:
            picture: RGB, uint8 [H, W, 3].
            time: Seconds from which on it is shown.
            pixel_aspect: Width of a pixel over its height, the same for all pictures.
        """
        height, width = picture.shape[:2]
        if height % 2 or width % 2:
            picture = cv2.copyMakeBorder(
                picture, 0, height % 2, 0, width % 2, borderType=cv2.BORDER_REPLICATE
            )
        self._size = self._size or (picture.shape[0], picture.shape[1])
        self._muxer = self._muxer or self._start(*self._size, pixel_aspect)
        container, stream = self._muxer
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            width=stream.width, height=stream.height, format="yuv420p"
        )
        if self._first is None:
            self._first = time
        # Two frames of one time would not play.
        self._last = max(round((time - self._first) / self._time_base), self._last + 1)
        frame.pts, frame.time_base = self._last, self._time_base
        container.mux(stream.encode(frame))

    def save(self) -> dict[str, Any]:
        """Write all pictures, at least one, to disk; return plain values to continue from."""
        self._stop()
        first, last = str(self._first), self._last
        return {"bytes": self._file.size, "size": self._size, "first": first, "last": last}

    def close(self, whole: bool) -> None:
        """Write what the encoder still holds; give the file its name if the video is `whole`."""
        try:
            self._stop()
        finally:
            self._file.close()
        if self._size is None:  # an MP4 without pictures is no video
            self.partial.unlink()
        elif whole:
            _index(self.partial, self._path)
            self.partial.unlink()

    def _start(
        self, height: int, width: int, pixel_aspect: Fraction
    ) -> tuple[OutputContainer, VideoStream]:
        container = av.open(
            self._file,
            "w",
            format="mp4",
            options={
                # Fragments follow on each other by their own times, whoever wrote them.
                "movflags": "frag_keyframe+empty_moov+default_base_moof+frag_discont+skip_trailer",
                "use_editlist": "0",
                "avoid_negative_ts": "disabled",
                "flush_packets": "1",  # a killed process leaves what it has written
            },
        )
        stream = container.add_stream("libx264", rate=self._rate, options=self._options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = self._time_base
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        self._file.skips = self._file.size > 0  # it has a header already
        container.start_encoding()
        self._file.skips = False
        return container, stream

    def _stop(self) -> None:
        if self._muxer:
            container, stream = self._muxer
            container.mux(stream.encode(None))
            container.close()
        self._muxer = None


class _Fragments:
    """A file that several muxers write to, one after the other: one header, then fragments.

    Of what is there `size` bytes are kept, or DataError is raised if it holds less; 0 starts the
    file again. While `skips` is true, what FFmpeg writes is left out.
    """

    def __init__(self, path: Path, size: int) -> None:
        if size and (not path.is_file() or path.stat().st_size < size):
            raise DataError(f"{path} is missing or shorter than it was")
        self._file = path.open("r+b" if size else "wb", buffering=0)
        self._file.truncate(size)
        self._file.seek(size)
        self.size, self.skips = size, False

    def write(self, data: bytes) -> int:
        """Write for FFmpeg; there is no `seek`, as nothing written is changed later."""
        if not self.skips:
            self.size += self._file.write(data)
        return len(data)

    def close(self) -> None:
        self._file.close()


def _index(fragments: Path, final: Path) -> None:
    """Copy a file of fragments, packet by packet, to one that players can seek in."""
    with (
        atomic_write(final) as temporary,
        av.open(f"file:{fragments.absolute()}") as source,
        av.open(
            f"file:{temporary.absolute()}", "w", format="mp4", options={"movflags": "faststart"}
        ) as target,
    ):
        target.metadata["comment"] = MARK
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
