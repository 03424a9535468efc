"""What is to be segmented: clips in folders, or videos."""

from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from sali.data.clips import Clip
from sali.data.clips import index_source as index_clips
from sali.data.datasets import ClipFrames, FrameReader
from sali.data.sampling import ClipBatches
from sali.data.video import Video, VideoFrames, index_videos
from sali.errors import ConfigError

Source = Clip | Video


def index_source(source: str, max_pixels: int) -> list[Source]:
    """Clips or videos that a user points at, in natural order.

    Args:
        source: folder or file.
        max_pixels: of a video's frame.

    Raises:
        ConfigError: an address.
        DataError: nothing there that could be segmented.
    """
    if "://" in source:
        raise ConfigError(
            f"source {source!r} is an address; wanted a file or folder (record the stream first)"
        )
    videos = index_videos(Path(source), max_pixels)
    return [*videos] or [*index_clips(Path(source))]


def load(
    sources: list[Source],
    reader: FrameReader,
    streams: int,
    num_workers: int,
    prefetch_factor: int,
    keep_pictures: bool,
) -> "DataLoader[Any]":
    """Lists of frames, one of each of the clips that are streamed side by side.

    Args:
        sources: all of one kind.
        reader: of frames in files; its size is that of videos too.
        streams: clips side by side; videos go one by one.
        num_workers: processes that read ahead; a video is decoded in order, so by one at most.
        prefetch_factor: frames that each reads ahead.
        keep_pictures: videos give their frames at their own size too.

    Raises:
        ConfigError: several streams of videos.
    """
    clips = [one for one in sources if isinstance(one, Clip)]
    videos = [one for one in sources if isinstance(one, Video)]
    options: dict[str, Any]
    if videos:
        if streams != 1:
            raise ConfigError(f"streams is {streams}; videos are streamed one by one, streams=1")
        num_workers = min(1, num_workers)
        options = {"dataset": VideoFrames(videos, reader.image_size, keep_pictures)}
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
    """Frames, by the header of a video; 0 where it does not say."""
    return source.length if isinstance(source, Video) else len(source.frames)


def protect_source(source: Source, root: Path) -> None:
    """Refuse to write results over the files that a source's frames are in.

    Raises:
        ConfigError: results of the source below ``root`` would replace them.
    """
    home = (source.path if isinstance(source, Video) else source.frames[0].parent).resolve()
    folder = (root / source.name).resolve()
    if home in (folder, folder.with_name(f"{source.name}.mp4")) or folder in home.parents:
        raise ConfigError(
            f"output {root} would put the maps of {source.name} in place of its frames; "
            "choose another folder"
        )
