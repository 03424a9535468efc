"""Index of clips on disk: which frames, in which order, with which masks. Paths only."""

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sali.data.order import clip_key, frame_key
from sali.errors import DataError

SUBSETS = {
    "train": "TrainDataset",
    "seen_easy": "TestEasyDataset/Seen",
    "seen_hard": "TestHardDataset/Seen",
    "unseen_easy": "TestEasyDataset/Unseen",
    "unseen_hard": "TestHardDataset/Unseen",
}
"""Folders of SUN-SEG by the names used here."""

FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Clip:
    """One folder of frames in order of time; ``masks[i]`` is None where a frame has none."""

    name: str
    subset: str
    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]

    @property
    def case(self) -> str:
        """The patient video that the clip was cut from: ``case12_3`` is of case12."""
        return self.name.split("_")[0]


def list_frames(folder: Path) -> list[Path]:
    """Image files of a folder in order of time: numbers in names count by value, a9 before a10.

    Raises:
        DataError: no such folder, no image in it, or two frames of one name.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    files = [path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES]
    frames = sorted(files, key=lambda path: frame_key(path.name))
    if not frames:
        raise DataError(f"no frames in {folder}; wanted files {', '.join(sorted(FRAME_SUFFIXES))}")
    for one, other in pairwise(frames):
        if one.stem == other.stem:
            raise DataError(f"{one} and {other.name} would both be frame {one.stem}; remove one")
    return frames


def index_clip(folder: Path, subset: str = "", mask_folder: Path | None = None) -> Clip:
    """The clip of one folder of frames, with masks of the same stems where there are any.

    Raises:
        DataError: as ``list_frames``, or masks that belong to no frame.
    """
    frames = list_frames(folder)
    masks: dict[str, Path] = {}
    if mask_folder is not None and mask_folder.is_dir():
        masks = {path.stem: path for path in list_frames(mask_folder)}
        strays = sorted(set(masks) - {frame.stem for frame in frames})
        if strays:
            raise DataError(
                f"{len(strays)} masks in {mask_folder} have no frame in {folder}, e.g. {strays[0]}"
            )
    return Clip(
        name=folder.name,
        subset=subset,
        frames=tuple(frames),
        masks=tuple(masks.get(frame.stem) for frame in frames),
    )


def index_clip_folders(root: Path, subset: str = "", mask_root: Path | None = None) -> list[Clip]:
    """A clip for every folder in ``root``, in natural order.

    Raises:
        DataError: no folder in ``root``, or a clip that ``index_clip`` refuses.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    folders = sorted((p for p in root.iterdir() if p.is_dir()), key=lambda p: clip_key(p.name))
    if not folders:
        raise DataError(f"no clip folders in {root}")
    return [
        index_clip(folder, subset, mask_root / folder.name if mask_root else None)
        for folder in folders
    ]


def index_subset(root: Path, subset: str) -> list[Clip]:
    """Clips of a SUN-SEG subset.

    Args:
        root: folder that holds ``TrainDataset``, ``TestEasyDataset`` ...
        subset: a key of ``SUBSETS``, or a folder below the root such as ``TestEasyDataset/Seen``.

    Raises:
        DataError: unknown subset or a folder that is missing or empty.
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
    return index_clip_folders(base / "Frame", subset, base / "GT")


def index_present(root: Path) -> list[Clip]:
    """Clips of all subsets that are there.

    Raises:
        DataError: none is there, or as ``index_subset``.
    """
    present = [name for name, folder in SUBSETS.items() if (root / folder / "Frame").is_dir()]
    return [clip for name in present or ["train"] for clip in index_subset(root, name)]


def index_source(source: Path) -> list[Clip]:
    """Clips of what a user points at: a subset folder, a folder of clip folders, or one of frames.

    Raises:
        DataError: none of these.
    """
    if source.is_file():
        raise DataError(f"{source} is a file; wanted a folder of frames or of clips")
    if not source.is_dir():
        raise DataError(f"no such folder: {source}")
    if (source / "Frame").is_dir():
        return index_clip_folders(source / "Frame")
    if any(p.is_file() and p.suffix.lower() in FRAME_SUFFIXES for p in source.iterdir()):
        return [index_clip(source)]
    if any(p.is_dir() for p in source.iterdir()):
        return index_clip_folders(source)
    raise DataError(f"no frames in {source}: neither image files nor folders of them")


def fingerprint(clips: list[Clip], root: Path) -> str:
    """Short hash over the relative path and size in bytes of every file of the clips."""
    digest = hashlib.sha256()
    for clip in clips:
        for path in (*clip.frames, *(m for m in clip.masks if m)):
            digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]
