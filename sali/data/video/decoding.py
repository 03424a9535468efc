"""Decoding of video files: frames as they are meant to be shown, with their times, one by one."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container.input import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from sali.errors import FrameError

RATE_WHERE_UNKNOWN = Fraction(25)
"""Frames per second of a file that says neither a rate nor times."""
HIGH_DEFINITION = 720
"""Height in pixels from which on untagged video has the matrix BT.709."""
UNSPECIFIED = 2
"""Matrix of a video that is not tagged (ITU-T H.273)."""
HIGH_DYNAMIC_RANGE = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


class Picture(NamedTuple):
    """A frame as it is shown, uint8 [H, W, 3], or why it has none; seconds on the file's clock."""

    rgb: np.ndarray | None
    time: Fraction
    error: str = ""


class CutVideoError(FrameError):
    """A video that ends before its header says; all frames before it can be used.

    `lost` is the number of frames that are missing, by duration and rate; at least 1.
    """

    def __init__(self, message: str, lost: int) -> None:
        super().__init__(message)
        self.lost = lost


def decode_video(path: Path, start: int = 0, max_pixels: int | None = None) -> Iterator[Picture]:
    """Yield every frame of a video, one in memory at a time (and a few inside the decoder).

    Frames are rotated and mirrored as the file says, interlaced ones deinterlaced (yadif, one
    frame of two fields), any depth and colour space converted to 8-bit RGB; high dynamic range is
    tone-mapped to sRGB. A frame that cannot be decoded, or only with damage, comes without a
    picture. Times never go back: where the clock of the file starts again, frames follow at the
    distance of one frame.

    Args:
        path: Video file.
        start: Number of the first frame to yield; those before it are decoded all the same, as
            later ones depend on them.
        max_pixels: Largest frame that is decoded, in pixels, regardless of the header.

    Raises:
        CutVideoError: The file ends before its header says; raised after the last frame.
        FrameError: Nothing in it can be decoded.
    """
    number, damaged, gap, shift = 0, "", Fraction(0), Fraction(0)
    end: Fraction | None = None
    reformatter = VideoReformatter()  # keeps its tables from frame to frame
    try:
        with open_file(path) as container:
            stream = picture_stream(container)
            if stream is None:
                raise FrameError(f"{path} holds no video")
            stream.thread_type = "AUTO"
            if max_pixels is not None:
                stream.codec_context.options = {"max_pixels": str(max_pixels)}
            step = 1 / frame_rate(stream)
            promised = end_time(container, stream)
            pending: list[str] = []
            last: Fraction | None = None
            matrix: np.ndarray | None = None
            for frame in deinterlaced(decoded(container, stream)):
                if isinstance(frame, str) or frame.is_corrupt:
                    pending.append(frame if isinstance(frame, str) else "damaged picture")
                    continue
                if last is None:  # only once: to ask keeps a frame until garbage is collected
                    matrix = display_matrix(frame)
                time = time_of(frame)
                if time is None:
                    time = Fraction(0) if last is None else last + step
                time += shift
                if last is not None and time <= last:  # joined recordings, each with its own clock
                    shift += last + step - time
                    time = last + step
                # Damage with good frames after it is in the middle; without, the file was cut.
                for bad in pending:
                    if number >= start:
                        error = f"cannot read frame {number} of {path}: {bad}"
                        yield Picture(None, time, error)
                    number += 1
                pending = []
                if number >= start:
                    yield Picture(shown_rgb(frame, reformatter, matrix), time)
                number += 1
                gap = max(gap, step, time - last if last is not None else step)
                last, end = time, time + step
            damaged = pending[0] if pending else ""
    except av.error.FFmpegError as error:
        raise FrameError(f"cannot read {path}: {reason_of(error)}") from error
    if end is None:
        raise FrameError(f"no frame of {path} can be decoded: {damaged or 'it holds no data'}")
    # A header is right to a frame or so, and the last frame may be shown for longer.
    missing = Fraction(0) if promised is None else promised - end
    if missing <= gap * 3 / 2:
        missing = Fraction(0)
    if damaged or missing:
        lost = max(1, len(pending), round(missing / step))
        why = damaged or "the file was cut off"
        raise CutVideoError(
            f"{path} stops after {number} frames at {float(end):.2f} s, about {lost} are missing: "
            f"{why}",
            lost,
        )


def open_file(path: Path) -> InputContainer:
    """Open a local file, even if its name looks like an address."""
    # Nothing in it may point to the internet.
    only = {"protocol_whitelist": "file"}
    # Nobody reads its titles, which may be in any encoding.
    return av.open(f"file:{path.absolute()}", container_options=only, metadata_errors="replace")


def picture_stream(container: InputContainer) -> VideoStream | None:
    """Return the stream that a player would show: not the picture of a cover; None without one.

    Raises:
        FrameError: Nothing can decode it.
    """
    best = container.streams.best("video")
    if not isinstance(best, VideoStream) or best.disposition & Disposition.attached_pic:
        return None
    if best.codec_context is None:
        raise FrameError(f"{container.name}: FFmpeg does not know the codec of the video")
    return best


def reason_of(error: Exception) -> str:
    """Return FFmpeg's words for an error."""
    return getattr(error, "strerror", None) or str(error)


def frame_rate(stream: VideoStream) -> Fraction:
    """Return frames per second, the mean where it varies."""
    return stream.average_rate or stream.guessed_rate or RATE_WHERE_UNKNOWN


def start_time(stream: VideoStream) -> Fraction:
    """Return the time of the first frame in seconds."""
    return Fraction(stream.start_time or 0) * (stream.time_base or 0)


def end_time(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Return when the last frame should end, in seconds; None if the header does not say."""
    if stream.duration and stream.time_base:
        return start_time(stream) + stream.duration * stream.time_base
    if container.duration and len(container.streams) == 1:  # else that of the sound, perhaps
        return Fraction(container.duration, av.time_base)  # Matroska counts it from zero
    return None


def time_of(frame: VideoFrame) -> Fraction | None:
    """Return the time of a frame in seconds, if it has one."""
    return None if frame.pts is None else frame.pts * Fraction(frame.time_base or 0)


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | str]:
    """Yield decoded frames, or the reason in place of one that cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            yield reason_of(error)
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            yield reason_of(error)


def deinterlaced(frames: Iterator[VideoFrame | str]) -> Iterator[VideoFrame | str]:
    """Yield frames through yadif, from the first one that is flagged interlaced."""
    graph: Graph | None = None
    shape = None
    for frame in frames:
        if isinstance(frame, str):
            yield frame
            continue
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != shape:
            yield from _filtered(graph, None)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, shape = Graph(), now
            source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base,
            )
            # Frames of a mixed video that are not flagged pass as they are.
            yadif = graph.add("yadif", "deint=interlaced")
            graph.link_nodes(source, yadif, graph.add("buffersink"))
            graph.configure()
        if graph is None:
            yield frame
            continue
        yield from _filtered(graph, frame)
    if graph is not None:
        yield from _filtered(graph, None)


def _filtered(graph: Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    """Give a frame, or None at the end, to a graph, and yield those that are ready."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def display_matrix(frame: VideoFrame) -> np.ndarray | None:
    """Return how the video is turned, int32 [9]; None if it is not."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return np.frombuffer(bytes(matrix), np.int32) if isinstance(matrix, SideData) else None


def shown_rgb(
    frame: VideoFrame, reformatter: VideoReformatter, matrix: np.ndarray | None
) -> np.ndarray:
    """Return the pixels of a frame as it is meant to be shown, uint8 [H, W, 3]."""
    high = frame.color_trc in HIGH_DYNAMIC_RANGE
    # As players do: large frames whose matrix is not tagged are BT.709, small ones BT.601.
    untagged = frame.colorspace == UNSPECIFIED and not frame.format.is_rgb
    large = untagged and frame.height >= HIGH_DEFINITION
    rgb = reformatter.reformat(
        frame,
        format="rgb24",
        src_colorspace=Colorspace.ITU709 if large else None,
        dst_color_trc=ColorTrc.IEC61966_2_1 if high else None,
        dst_color_primaries=ColorPrimaries.BT709 if high else None,
    ).to_ndarray()
    return np.ascontiguousarray(rgb if matrix is None else _turned(rgb, matrix))


def _turned(rgb: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn by a display matrix [9]: (x, y) to (a x + c y, b x + d y); quarter turns only."""
    a, b, _, c, d = matrix[:5].tolist()
    if abs(a) >= abs(b):
        across, down = a, d
    else:
        rgb = rgb.swapaxes(0, 1)
        across, down = c, b
    rgb = rgb[:, ::-1] if across < 0 else rgb
    return rgb[::-1] if down < 0 else rgb
