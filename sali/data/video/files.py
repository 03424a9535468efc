"""Video files as clips: the index of them, and their frames as items of a stream."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import torch
from torch.utils.data import IterableDataset

from sali.data.frames import resize_frame
from sali.data.listing import clip_key, images_in, refuse_doubles, visible
from sali.data.samples import End, Frame, StreamItem, Unreadable, to_tensor
from sali.data.video.decoding import (
    CutVideoError,
    Picture,
    decode_video,
    end_time,
    frame_rate,
    open_file,
    picture_stream,
    reason_of,
    start_time,
)
from sali.errors import DataError, FrameError

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".mxf", ".ogv"),
    *(".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts"),
}


@dataclass(frozen=True)
class Video:
    """A video file, as its header describes it.

    Attributes:
        name: Name of the file without suffix.
        path: The file.
        time_base: Unit of the frames' times in seconds.
        rate: Frames per second, the mean where it varies.
        length: Number of frames by duration and rate; 0 if the file does not say.
        size: (H, W) of a frame as it is stored, before it is turned.
        pixel_aspect: Width of a stored pixel over its height.
        max_pixels: Largest frame that is decoded, in pixels.
    """

    name: str
    path: Path
    time_base: Fraction
    rate: Fraction
    length: int
    size: tuple[int, int]
    pixel_aspect: Fraction
    max_pixels: int


def index_videos(source: Path, max_pixels: int) -> list[Video]:
    """Return the videos that a user names: one file, or all of a folder in natural order.

    Returns:
        One per file; none for a folder without videos.

    Raises:
        DataError: A file that is no video, two of one stem, or videos among image files.
    """
    _require_target(source)
    if source.is_file():
        if source.suffix.lower() not in VIDEO_SUFFIXES:
            raise DataError(
                f"{source} is a file; wanted a folder of frames or of clips, or a video "
                f"({', '.join(sorted(VIDEO_SUFFIXES))})"
            )
        return [open_video(source, max_pixels)]
    if not source.is_dir() or (source / "Frame").is_dir():
        return []
    inside = sorted(visible(source), key=lambda path: clip_key(path.name))
    files = [p for p in inside if p.suffix.lower() in VIDEO_SUFFIXES and not p.is_dir()]
    if not files:
        return []
    folders = [p.name for p in inside if p.is_dir()]
    frames = [*images_in(source), *(source / n for n in folders if images_in(source / n))]
    if frames:
        raise DataError(
            f"{source} holds both frames and videos, e.g. {files[0].name} and {frames[0].name}; "
            "move one kind away or point source at one video"
        )
    if folders:
        log.warning("folders next to the videos in %s are not read: %s", source, ", ".join(folders))
    for path in files:
        _require_target(path)
    refuse_doubles((f"clip {path.stem}", path) for path in files)
    return [open_video(path, max_pixels) for path in files]


def open_video(path: Path, max_pixels: int) -> Video:
    """Return a video as its header describes it.

    Raises:
        DataError: Not a video, none in it, or one with larger frames than `max_pixels`.
        FrameError: Nothing can decode it.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes); copy it again")
    try:
        with open_file(path) as container:
            stream = picture_stream(container)
            if stream is None:
                kinds = sorted({str(stream.type) for stream in container.streams})
                raise DataError(
                    f"{path} holds {', '.join(kinds) or 'nothing'} but no video; wanted a file "
                    "with pictures (was it cut off? copy it again)"
                )
            width, height = stream.width, stream.height
            rate = frame_rate(stream)
            end = end_time(container, stream)
            length = round((end - start_time(stream)) * rate) if end is not None else 0
            time_base = stream.time_base or 1 / rate
            pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path} cannot be read as video: {reason_of(error)}; it is another kind of file or "
            "was cut off before its index was written, copy it again"
        ) from error
    if width * height > max_pixels:
        raise DataError(
            f"{path} has frames of {width}x{height} pixels, more than video.max_pixels "
            f"({max_pixels}); raise it or scale the video down"
        )
    size = height, width
    return Video(path.stem, path, time_base, rate, length, size, pixel_aspect, max_pixels)


@dataclass(eq=False, repr=False)
class VideoFrames(IterableDataset[StreamItem]):
    """All frames of the videos, one after another; after each video its `End`.

    Attributes:
        keep_pictures: Give the frames at their own size too.
        starts: {number of a video: frame to begin with}; 0 for the others.
    """

    videos: Sequence[Video]
    image_size: int
    keep_pictures: bool
    starts: Mapping[int, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[StreamItem]:
        for c, video in enumerate(self.videos):
            number, error, lost = self.starts.get(c, 0), "", 0
            try:
                for picture in decode_video(video.path, number, video.max_pixels):
                    yield to_frame(picture, c, number, self.image_size, self.keep_pictures)
                    number += 1
            except CutVideoError as cut:
                error, lost = str(cut), cut.lost
            except FrameError as unreadable:
                error = str(unreadable)
            yield End(clip=c, number=number, error=error, lost=lost)


def to_frame(
    picture: Picture, clip: int, number: int, image_size: int, keep_picture: bool
) -> Frame | Unreadable:
    """Return a decoded picture, or the reason why there is none, as an item of a stream."""
    if picture.rgb is None:
        return Unreadable(clip=clip, number=number, error=picture.error)
    height, width = picture.rgb.shape[:2]
    return Frame(
        clip=clip,
        number=number,
        image=to_tensor(resize_frame(picture.rgb, image_size)),
        size=(height, width),
        picture=torch.from_numpy(picture.rgb) if keep_picture else None,
        time=picture.time,
    )


def _require_target(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a symbolic link to itself or to nothing; repair or remove it")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{path} is a device or a pipe; wanted a file or a folder")
