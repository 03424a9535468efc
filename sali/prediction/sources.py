"""What can be segmented: clips in folders, videos, or a live source."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from sali.data.datasets import ClipFrames, FrameReader
from sali.data.index import Clip
from sali.data.index import index_source as index_clips
from sali.data.listing import litter_counted
from sali.data.samples import StreamItem
from sali.data.sampling import clip_batches
from sali.data.video.files import Video, VideoFrames, index_videos
from sali.data.video.live import Live, LiveSettings, find_live
from sali.errors import ConfigError, DataError

if TYPE_CHECKING:  # it needs albumentations, which takes seconds to import
    from sali.data.corruption import BadRuns

FileSource = Clip | Video
Source = FileSource | Live
Batches = Iterable[list[StreamItem]]
"""Lists of items, one of each of the clips that are streamed together."""


@dataclass(frozen=True)
class Options:
    """How a prediction is computed.

    Attributes:
        precision: "32", "bf16" or "16".
        num_workers: Processes that read ahead; at most one for videos, which are decoded in order.
        prefetch_factor: Frames that each of them reads ahead.
        streams: Clips whose frames are encoded as one batch; videos are streamed one by one.
        skip_bad: Whether to leave unreadable frames out; else they are an error.
        keep_pictures: Whether a writer needs the frames of videos themselves.
        live: Settings of a live source; None if there is none.
        quiet: Whether to draw no progress bar, where several predictions share one terminal.
        corruption: Runs of bad frames to put into clips, to test a network on them.
    """

    precision: str = "32"
    num_workers: int = 0
    prefetch_factor: int = 4
    streams: int = 1
    skip_bad: bool = False
    keep_pictures: bool = False
    live: LiveSettings | None = None
    quiet: bool = False
    corruption: "BadRuns | None" = None


def index_source(source: str, max_pixels: int) -> list[Source]:
    """Return the clips or videos that a user points at, in natural order; or one live source.

    Args:
        source: Folder, file, index or device of a camera, or address of a stream.
        max_pixels: Largest frame of a video, in pixels.

    Raises:
        ConfigError: An address that cannot be one of a stream.
        DataError: There is nothing that could be segmented.
    """
    live = find_live(source)
    if live is not None:
        return [live]
    path = Path(source)
    try:
        with litter_counted():
            return [*index_videos(path, max_pixels)] or [*index_clips(path)]
    except OSError as error:
        raise DataError(f"source {source!r} cannot be read: {error.strerror}") from error


def load(
    sources: Sequence[Source],
    reader: FrameReader,
    options: Options,
    starts: Mapping[int, int] | None = None,
) -> "DataLoader[Any]":
    """Return the frames of clips or videos as `Batches`.

    The size of the reader is that of videos too. Videos begin at `starts`, by number; others at 0.
    """
    clips = [one for one in sources if isinstance(one, Clip)]
    videos = [one for one in sources if isinstance(one, Video)]
    num_workers, corruption = options.num_workers, options.corruption
    dataset: Any
    if videos:
        if corruption is not None:
            raise ConfigError("data.corruption is for clips of frame files, and this is a video")
        num_workers = min(1, num_workers)
        dataset = VideoFrames(videos, reader.image_size, options.keep_pictures, starts or {})
        batches = None
    else:
        dataset = ClipFrames(clips, reader, with_masks=False, keep_bad=True, corruption=corruption)
        batches = clip_batches([len(clip.frames) for clip in clips], options.streams)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=list,
        num_workers=num_workers,
        prefetch_factor=options.prefetch_factor if num_workers else None,
    )


def length_of(source: Source) -> int:
    """Return the number of frames, of a video by its header; 0 where it is unknown."""
    if isinstance(source, Clip):
        return len(source.frames)
    return source.length if isinstance(source, Video) else 0


def protect_source(source: Source, root: Path, origin: str) -> None:
    """Refuse results among the files of a source, or in place of those of a live source.

    Raises:
        ConfigError: Results would replace something that cannot be made again, lie outside of
            `root`, or be taken for clips of the source next time.
    """
    if source.name == ".." or Path(source.name).name != source.name:
        raise ConfigError(
            f"source {origin}: got {source.name!r} as the name of a clip, and its results need a "
            "name of their own; rename the folder or file"
        )
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
    if isinstance(source, Video):
        return
    listed = source.frames[0].parent.parent.resolve()
    is_alone = home == Path(origin).resolve()
    if root.resolve() == home or (not is_alone and root.resolve().is_relative_to(listed)):
        raise ConfigError(
            f"output: results in {root} would be taken for a clip of source {origin} next time; "
            "choose a folder outside of it"
        )
