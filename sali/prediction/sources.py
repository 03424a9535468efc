"""What is to be segmented: clips in folders, videos, or something live."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from sali.data.datasets import ClipFrames, FrameReader
from sali.data.index import Clip
from sali.data.index import index_source as index_clips
from sali.data.samples import StreamItem
from sali.data.sampling import ClipBatches
from sali.data.video.files import Video, VideoFrames, index_videos
from sali.data.video.live import Live, find_live
from sali.errors import ConfigError, DataError

Recorded = Clip | Video
Source = Recorded | Live
Loader = Iterable[list[StreamItem]]
"""Lists of items, one of each of the clips that are streamed side by side."""


def index_source(source: str, max_pixels: int) -> list[Source]:
    """Clips or videos that a user points at, in natural order; or one camera or stream.

    Args:
        source: folder, file, index or device of a camera, or address.
        max_pixels: of a video's frame.

    Raises:
        ConfigError: an address that cannot be one of a stream.
        DataError: nothing there that could be segmented.
    """
    live = find_live(source)
    if live is not None:
        return [live]
    path = Path(source)
    try:
        videos = index_videos(path, max_pixels)
        return [*videos] or [*index_clips(path)]
    except OSError as error:
        raise DataError(f"source {source!r} cannot be read: {error.strerror}") from error


def check_streams(sources: list[Source], streams: int) -> None:
    """Refuse to stream anything but folders of frames side by side.

    Raises:
        ConfigError: several streams of something else.
    """
    if streams != 1 and not isinstance(sources[0], Clip):
        raise ConfigError(f"streams is {streams}; videos are streamed one by one, streams=1")


def load(
    sources: list[Source],
    reader: FrameReader,
    num_workers: int,
    prefetch_factor: int,
    streams: int,
    keep_pictures: bool,
    starts: Mapping[int, int],
) -> "DataLoader[Any]":
    """Frames of clips or videos.

    Args:
        sources: all of one kind.
        reader: of frames in files; its size is that of videos too.
        num_workers: processes that read ahead; a video is decoded in order, so by one at most.
        prefetch_factor: frames that each reads ahead.
        streams: clips side by side; videos go one by one.
        keep_pictures: videos give their frames at their own size too.
        starts: {number of a video: frame to begin with}; 0 for the others.
    """
    clips = [one for one in sources if isinstance(one, Clip)]
    videos = [one for one in sources if isinstance(one, Video)]
    options: dict[str, Any]
    if videos:
        num_workers = min(1, num_workers)
        options = {"dataset": VideoFrames(videos, reader.image_size, keep_pictures, starts)}
    else:
        options = {
            "dataset": ClipFrames(clips, reader, with_masks=False, keep_bad=True),
            "batch_sampler": ClipBatches([len(clip.frames) for clip in clips], streams),
        }
    return DataLoader(
        **options,
        collate_fn=list,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor if num_workers else None,
    )


def length_of(source: Source) -> int:
    """Frames, by the header of a video; 0 where nobody knows."""
    if isinstance(source, Clip):
        return len(source.frames)
    return source.length if isinstance(source, Video) else 0


def protect_source(source: Source, root: Path) -> None:
    """Refuse to write results over the files that a source's frames are in.

    What was recorded of a live source cannot be had again: it is not replaced either.

    Raises:
        ConfigError: results of the source below ``root`` would replace something.
    """
    if isinstance(source, Live):
        if (root / source.name).exists():
            raise ConfigError(
                f"{root / source.name} is there from an earlier recording; choose another output"
            )
        return
    home = (source.path if isinstance(source, Video) else source.frames[0].parent).resolve()
    folder = (root / source.name).resolve()
    if home in (folder, folder.with_name(f"{source.name}.mp4")) or folder in home.parents:
        raise ConfigError(
            f"output {root} would put the maps of {source.name} in place of its frames; "
            "choose another folder"
        )
