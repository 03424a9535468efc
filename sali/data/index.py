"""Index of clips on disk: which frames, in which order, with which masks. Paths only."""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sali.data.clip_tables import read_rates
from sali.data.listing import (
    FRAME_SUFFIXES,
    case_of,
    frame_stem,
    images_in,
    list_clip_folders,
    list_images,
    masks_by_frame,
    visible,
    visible_files,
)
from sali.errors import DataError

log = logging.getLogger(__name__)

SUBSETS = {
    "train": "TrainDataset",
    "seen_easy": "TestEasyDataset/Seen",
    "seen_hard": "TestHardDataset/Seen",
    "unseen_easy": "TestEasyDataset/Unseen",
    "unseen_hard": "TestHardDataset/Unseen",
}
"""Folders of SUN-SEG by the names used here."""
TEST_SUBSETS = tuple(name for name in SUBSETS if name != "train")
POLYP_FREE = "polyp_free"
"""Subset of clips that have frames but no masks, as there is nothing to mark."""
STILLS = "stills"
"""Subset of single frames, each of them a clip of its own."""

MASK_FOLDERS = {"masks", "mask", "gt", "labels", "annotations", "ground_truth", "ground truth"}
"""Folders, in lower case, that hold masks where frames are in a folder next to them."""
_HEADERS_AT_ONCE = 16


@dataclass(frozen=True)
class Clip:
    """One folder of frames in order of time, with their masks.

    Attributes:
        name: Name of the folder, also where it was named as `.`.
        subset: Key of `SUBSETS`, `POLYP_FREE`, or another name of the set of clips.
        frames: Files of the frames; empty for a ground truth whose frames are not there.
        masks: Mask of each frame, None for a frame without one; of a ground truth never None.
        frames_per_second: Rate of the recording by the table of the data, see `with_rates`; None
            where it has none.
    """

    name: str
    subset: str
    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    frames_per_second: float | None = None

    @property
    def case(self) -> str:
        """Patient video that the clip was cut from."""
        return case_of(self.name)

    @property
    def is_polyp_free(self) -> bool:
        """Whether the clip is known to show no polyp, and so needs no masks."""
        return self.subset == POLYP_FREE

    @cached_property
    def stems(self) -> tuple[str, ...]:
        """Names of all frames, without suffix; their maps have the same ones."""
        if self.frames:
            return tuple(map(frame_stem, self.frames))
        return tuple(masks_by_frame([mask for mask in self.masks if mask is not None]))

    def __len__(self) -> int:
        return len(self.masks)


def index_clip(folder: Path, subset: str = "", mask_folder: Path | None = None) -> Clip:
    """Return the clip of one folder of frames, with masks where there are any.

    Raises:
        DataError: As `list_images`, or masks that belong to no frame.
    """
    frames = list_images(folder)
    masks: dict[str, Path] = {}
    if mask_folder is not None and mask_folder.is_dir():
        stems = {frame_stem(frame) for frame in frames}
        masks = masks_by_frame(list_images(mask_folder, "masks"), stems)
        strays = sorted(set(masks) - stems)
        if strays:
            raise DataError(
                f"{len(strays)} masks in {mask_folder} have no frame in {folder}, e.g. {strays[0]}"
            )
    found = tuple(masks.get(frame_stem(frame)) for frame in frames)
    return Clip(Path(os.path.abspath(folder)).name, subset, tuple(frames), found)


def index_truth_clip(folder: Path, subset: str, frame_folder: Path | None) -> Clip:
    """Return the clip of one folder of masks, with its frames if every mask has one."""
    masks = list_images(folder, "masks")
    frames: list[Path] = []
    if frame_folder is not None and frame_folder.is_dir():
        by_stem = {frame_stem(path): path for path in images_in(frame_folder)}
        frames = [by_stem[s] for s in masks_by_frame(masks, by_stem) if s in by_stem]
    if 0 < len(frames) < len(masks):
        log.warning(
            "%s: got frames for %d of %d masks; wanted one for each, so none is used",
            frame_folder,
            len(frames),
            len(masks),
        )
        frames = []
    return Clip(folder.name, subset, tuple(frames), tuple(masks))


def index_clip_folders(root: Path, subset: str = "", mask_root: Path | None = None) -> list[Clip]:
    """Return a clip for every folder in `root`, in natural order."""
    return [
        index_clip(folder, subset, mask_root / folder.name if mask_root else None)
        for folder in list_clip_folders(root)
    ]


def index_subset(root: Path, subset: str) -> list[Clip]:
    """Return the clips of a SUN-SEG subset.

    Args:
        root: Folder that holds `TrainDataset`, `TestEasyDataset` ...
        subset: Key of `SUBSETS`, or a folder below the root such as `TestEasyDataset/Seen`.

    Raises:
        DataError: Unknown subset, or a folder that is missing or empty.
    """
    folder = SUBSETS.get(subset, subset)
    if folder not in SUBSETS.values():
        raise DataError(f"unknown subset {subset!r}; wanted one of {', '.join(SUBSETS)}")
    base = Path(root) / folder
    if not (base / "Frame").is_dir():
        raise DataError(
            f"no {base / 'Frame'}; data.root must be a folder in the SUN-SEG layout, with "
            f"{folder}/Frame/<clip>/ and {folder}/GT/<clip>/ (see docs/data.md)"
        )
    return with_rates(index_clip_folders(base / "Frame", subset, base / "GT"), Path(root))


def with_rates(clips: Sequence[Clip], folder: Path) -> list[Clip]:
    """Return clips of a data root, or of a folder of clips, with their rates by its table."""
    parts = [folder / part / kind for part in (*SUBSETS.values(), ".") for kind in ("Frame", "GT")]
    homes = [home for home in (folder, folder / POLYP_FREE, *parts) if home.is_dir()]
    rates = read_rates(folder, {path.name for home in homes for path in visible(home)})
    return [replace(clip, frames_per_second=rates.get(clip.name)) for clip in clips]


def present_subsets(root: Path, kind: str) -> list[str]:
    """Return the names of the subsets that have a folder of a kind, "Frame" or "GT"."""
    return [name for name, folder in SUBSETS.items() if (root / folder / kind).is_dir()]


def index_present(root: Path) -> list[Clip]:
    """Return the clips of all subsets that are there."""
    present = present_subsets(root, "Frame")
    return [clip for name in present or ["train"] for clip in index_subset(root, name)]


def index_source(source: Path) -> list[Clip]:
    """Return the clips of what a user names: a subset folder, a folder of clips, or of frames.

    Raises:
        DataError: None of these, or several: frames next to clips, or masks next to frames.
    """
    if source.is_file():
        raise DataError(f"{source} is a file; wanted a folder of frames or of clips")
    if not source.is_dir():
        raise DataError(f"no such folder: {source}")
    if (source / "Frame").is_dir():
        return index_clip_folders(source / "Frame")
    images = images_in(source)
    folders = [path for path in visible(source) if path.is_dir()]
    of_masks = [path.name for path in folders if path.name.lower() in MASK_FOLDERS]
    others = [path.name for path in folders if path.name not in of_masks]
    clips = [name for name in others if images_in(source / name)]
    if images and clips:
        raise DataError(
            f"{source} holds images, e.g. {images[0].name}, and folders of images, e.g. "
            f"{clips[0]}; wanted the frames of one clip, or a folder for each: move one kind away"
        )
    if images:
        return [index_clip(source)]
    if of_masks and others:
        raise DataError(
            f"{source} holds {of_masks[0]}, which are masks by its name, next to {others[0]}; name "
            f"the frames alone: source={source / others[0]}"
        )
    if folders:
        return index_clip_folders(source)
    raise DataError(f"no frames in {source}: neither image files nor folders of them")


def index_stills(folder: Path) -> list[Clip]:
    """Return a clip of one frame for every image of a folder that holds `images` and `masks`.

    Raises:
        DataError: As `index_clip`, or an image without a mask.
    """
    stills = index_clip(folder / "images", STILLS, folder / "masks")
    require_masks([stills])
    return [
        Clip(frame.stem, STILLS, (frame,), (mask,))
        for frame, mask in zip(stills.frames, stills.masks, strict=True)
    ]


def index_polyp_free(folder: Path) -> list[Clip]:
    """Return the clips of a folder of frames, or of clips, that show no polyp.

    Raises:
        DataError: As `index_source`, or masks in it that are not empty.
    """
    from sali.data.frames import read_mask

    for masks in (folder / "GT", folder / "masks"):
        for path in visible_files(masks) if masks.is_dir() else ():
            if path.suffix.lower() in FRAME_SUFFIXES and read_mask(path).any():
                raise DataError(
                    f"polyp_free: {path} marks a polyp; wanted frames without one, or empty masks"
                )
    frames = folder / "images" if (folder / "images").is_dir() else folder
    return [replace(clip, subset=POLYP_FREE) for clip in index_source(frames)]


def require_masks(clips: Sequence[Clip], sparse: bool = False) -> None:
    """Refuse clips of which a frame has no mask; polyp-free clips need none.

    With `sparse`, one mask in a clip is enough.

    Raises:
        DataError: A frame without a mask, or a clip without any.
    """
    for clip in clips:
        if clip.is_polyp_free or (sparse and any(clip.masks)):
            continue
        for frame, mask in zip(clip.frames, clip.masks, strict=True):
            if mask is None:
                raise DataError(
                    f"frame {frame} of clip {clip.name} has no mask; add it, or give "
                    "data.sparse_masks=true if the clips are annotated in part"
                )


def require_sizes(clips: Sequence[Clip], alike: bool) -> None:
    """Refuse masks of other sizes than their frames, by the headers of the files.

    With `alike`, refuse clips whose frames change size, too.

    Raises:
        DataError: Another size.
        FrameError: A file that is not an image.
    """
    from sali.data.frames import read_size

    groups: list[list[Path]] = []  # of files of one size
    for clip in clips:
        pairs = zip(clip.frames, clip.masks, strict=True)
        found = [[path for path in pair if path is not None] for pair in pairs]
        groups += [[path for pair in found for path in pair]] if alike else found
    with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
        sizes = iter(list(pool.map(read_size, (path for group in groups for path in group))))
    for group in groups:
        wanted, *others = ((path, next(sizes)) for path in group)
        for path, size in others:
            if size != wanted[1]:
                raise DataError(
                    f"{path} is {size[0]}x{size[1]} and {wanted[0]} {wanted[1][0]}x{wanted[1][1]} "
                    "(height x width); wanted one size for a frame and its mask"
                    + (", and for all of a clip" if alike else "")
                )


def fingerprint(clips: Sequence[Clip], root: Path) -> str:
    """Return a short hash over path (from `root`) and size in bytes of every file of the clips."""
    digest = hashlib.sha256()
    for clip in clips:
        for path in (*clip.frames, *(mask for mask in clip.masks if mask)):
            relative = Path(os.path.relpath(path, root)).as_posix()
            digest.update(f"{relative} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]
