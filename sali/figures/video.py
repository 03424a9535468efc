"""Overlays as a video file."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream


class OverlayVideo:
    """H.264 in MP4, written frame by frame as ``<stem>.partial.mp4``, renamed when it is whole.

    An interrupted one keeps that name and plays as far as it goes: it consists of fragments, one
    for each key frame.

    Args:
        path: of the whole file, ``<stem>.mp4``.
        time_base: seconds; times of frames are multiples of it.
        rate: frames per second, the mean where it varies.
        quality: x264's crf; lower is better and larger.
        preset: x264's, of speed against size.
        key_frame_every: frames; what a killed process loses at most.
    """

    def __init__(
        self,
        path: Path,
        time_base: Fraction,
        rate: Fraction,
        quality: int,
        preset: str,
        key_frame_every: int,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._time_base = time_base
        self._rate = rate
        # Without B frames every picture is written when it comes, and times stay what they are.
        self._options = {"crf": str(quality), "preset": preset, "bf": "0"}
        self._options["g"] = str(key_frame_every)
        self._container = av.open(
            f"file:{self.partial.absolute()}",
            "w",
            format="mp4",
            options={
                "movflags": "frag_keyframe+empty_moov+default_base_moof",
                "flush_packets": "1",  # a killed process leaves what it has written
            },
        )
        self._stream: VideoStream | None = None
        self._first: Fraction | None = None
        self._last = -1

    def __enter__(self) -> "OverlayVideo":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(whole=kind is None)

    def write(self, picture: np.ndarray, time: Fraction) -> None:
        """Append a picture, RGB uint8 [H, W, 3], shown from ``time`` (seconds) on.

        The first one is at zero; all others keep their distance to it.
        Odd sizes are padded to even ones, as H.264 with yuv420p wants; pictures of another size
        than the first are scaled to it.
        """
        height, width = picture.shape[:2]
        picture = cv2.copyMakeBorder(
            picture, 0, height % 2, 0, width % 2, borderType=cv2.BORDER_REPLICATE
        )
        if self._stream is None:
            self._stream = self._start(*picture.shape[:2])
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            width=self._stream.width, height=self._stream.height, format="yuv420p"
        )
        if self._first is None:
            self._first = time
        # Two frames of one time would not play.
        self._last = max(round((time - self._first) / self._time_base), self._last + 1)
        frame.pts, frame.time_base = self._last, self._time_base
        self._container.mux(self._stream.encode(frame))

    def close(self, whole: bool) -> None:
        """Write what the encoder still holds; give the file its name if the video is ``whole``."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if self._stream is None:  # an MP4 without pictures is no video
            self.partial.unlink()
        elif whole:
            self.partial.replace(self._path)

    def _start(self, height: int, width: int) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = self._time_base
        return stream
