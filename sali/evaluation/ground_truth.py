"""Which clips are scored, and where their masks are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sali.data.clips import FRAME_SUFFIXES, SUBSETS, Clip
from sali.data.order import clip_key, frame_key
from sali.errors import DataError
from sali.evaluation.settings import Settings

TEST_SUBSETS = tuple(name for name in SUBSETS if name != "train")
ALL = "all"
"""Name of the only subset where the ground truth is a folder of clips."""
POLYP_FREE = "polyp_free"
"""Name of the subset of clips that have frames but no masks, as there is nothing to mark."""


@dataclass(frozen=True)
class TruthClip:
    """Masks of one clip in order of time.

    Names, not paths: a folder and 50,000 names take a tenth of the memory.

    Attributes:
        subset: key of `SUBSETS`, `ALL` or `POLYP_FREE`.
        name: of the clip's folder.
        folder: where the masks are; of a polyp-free clip, the frames.
        files: their names, in order.
        frame_folder: where the frames of the same stems are, if there are any; None if nobody
            said where.
    """

    subset: str
    name: str
    folder: Path
    files: tuple[str, ...]
    frame_folder: Path | None = None

    @property
    def has_masks(self) -> bool:
        """False for clips that are known to be free of polyps."""
        return self.subset != POLYP_FREE

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the frames without suffix."""
        return tuple(Path(name).stem for name in self.files)


def index_truth(gt: Path, settings: Settings) -> list[TruthClip]:
    """Lists the clips of all subsets, each in the order of the protocol.

    Args:
        gt: SUN-SEG root, one of its subset folders (holds `GT`), or a folder of clip folders.
        settings: which subsets, and whether their frames are needed.

    Raises:
        DataError: no such folder, an unknown or absent subset, a clip without masks, or frames
            that are needed and not there.
    """
    if not gt.is_dir():
        raise DataError(f"no folder {gt}; gt is a SUN-SEG root or a folder of clips with masks")
    frames = settings.frames
    if is_sun_seg(gt):
        clips = []
        for subset in _subsets_of(gt, settings.subsets):
            base = Path(SUBSETS[subset])
            clips += _index(gt / base / "GT", subset, (frames or gt) / base / "Frame")
    elif settings.subsets is not None:
        raise DataError(
            f"subsets {list(settings.subsets)} are parts of a SUN-SEG root, and {gt} holds none of "
            f"{', '.join(f'{folder}/GT' for folder in SUBSETS.values())}; leave subsets out"
        )
    elif (gt / "GT").is_dir():
        clips = _index(gt / "GT", ALL, frames or gt / "Frame")
    else:
        clips = _index(gt, ALL, frames)
    if settings.polyp_free is not None:
        clips += _index(settings.polyp_free, POLYP_FREE, settings.polyp_free)
    if settings.quality:
        for clip in clips:
            check_frames(clip)
    return clips


def truth_of(clip: Clip, subset: str) -> TruthClip:
    """Return the masks of an indexed clip.

    Args:
        clip: Clip with its masks in one folder.
        subset: Name of the subset that the clip is scored in.

    Raises:
        DataError: A frame has no mask.
    """
    masks = [mask for mask in clip.masks if mask is not None]
    if len(masks) < len(clip.frames):
        frame = clip.frames[clip.masks.index(None)]
        raise DataError(f"frame {frame} has no mask in the GT folder of clip {clip.name}")
    names = tuple(mask.name for mask in masks)
    return TruthClip(subset, clip.name, masks[0].parent, names, clip.frames[0].parent)


def is_sun_seg(gt: Path) -> bool:
    """Whether a folder is laid out like SUN-SEG."""
    return any((gt / folder / "GT").is_dir() for folder in SUBSETS.values())


def image_files(folder: Path, what: str) -> tuple[str, ...]:
    """Names of the images of a clip in the order of the protocol.

    Raises:
        DataError: none, or two of one stem.
    """
    names = [p.name for p in folder.iterdir() if p.suffix.lower() in FRAME_SUFFIXES]
    if not names:
        raise DataError(f"no {what} in {folder}; wanted files {', '.join(sorted(FRAME_SUFFIXES))}")
    if len({Path(name).stem for name in names}) < len(names):
        raise DataError(f"two {what} of one name but different types in {folder}; remove one")
    return tuple(sorted(names, key=frame_key))


def frame_paths(clip: TruthClip) -> dict[str, Path]:
    """The frames of a clip by stem; none if there is no folder of them."""
    folder = clip.frame_folder
    if folder is None or not folder.is_dir():
        return {}
    return {p.stem: p for p in folder.iterdir() if p.suffix.lower() in FRAME_SUFFIXES}


def frame_files(clip: TruthClip) -> list[Path]:
    """The frame of each mask, in order; `check_frames` has seen that there is one."""
    by_stem = frame_paths(clip)
    return [by_stem[stem] for stem in clip.stems]


def check_frames(clip: TruthClip) -> None:
    """Raises DataError unless every mask of a clip has its frame."""
    folder = clip.frame_folder
    if folder is None or not folder.is_dir():
        raise DataError(
            f"quality=true reads the frames of {clip.name}, and there is no folder "
            f"{folder or '(frames=...)'}; say where they are with frames=DIR"
        )
    there = frame_paths(clip)
    absent = [stem for stem in clip.stems if stem not in there]
    if absent:
        raise DataError(
            f"{len(absent)} masks of {clip.folder} have no frame in {folder}, e.g. {absent[0]}"
        )


def _subsets_of(gt: Path, wanted: Sequence[str] | None) -> list[str]:
    present = [name for name in SUBSETS if (gt / SUBSETS[name] / "GT").is_dir()]
    if wanted is None:
        found = [name for name in TEST_SUBSETS if name in present]
        if not found:
            raise DataError(f"no test subset in {gt}; got {present}, wanted {list(TEST_SUBSETS)}")
        return found
    for name in wanted:
        if name not in SUBSETS:
            raise DataError(f"unknown subset {name!r}; wanted one of {', '.join(SUBSETS)}")
        if name not in present:
            raise DataError(
                f"no {gt / SUBSETS[name] / 'GT'}, so no masks of subset {name}; "
                f"present: {', '.join(present)}"
            )
    return list(dict.fromkeys(wanted))


def _index(root: Path, subset: str, frame_root: Path | None) -> list[TruthClip]:
    what = "frames" if subset == POLYP_FREE else "masks"
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    folders = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if not folders:
        raise DataError(f"no clip folders in {root}; wanted one folder of {what} per clip")
    return [
        TruthClip(
            subset,
            folder.name,
            folder,
            image_files(folder, what),
            frame_root / folder.name if frame_root else None,
        )
        for folder in sorted(folders, key=lambda path: clip_key(path.name))
    ]
