"""What is scored, and which maps belong to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sali.data.clip_tables import RATES_FILE
from sali.data.frames import Mask, read_mask, read_size
from sali.data.index import (
    POLYP_FREE,
    SUBSETS,
    TEST_SUBSETS,
    Clip,
    index_clip,
    index_clip_folders,
    index_truth_clip,
    present_subsets,
    with_rates,
)
from sali.data.listing import frame_stem, is_scored, list_clip_folders, list_images, visible
from sali.errors import DataError
from sali.evaluation.settings import Settings
from sali.metrics.operating_point import OperatingPoint
from sali.run.io import read_json

MANIFEST = "run.json"
"""File in which a prediction says, next to its maps, what they are of."""
ALL = "all"
"""Name of the only subset where the ground truth is a folder of clips."""


@dataclass(frozen=True)
class ClipMaps:
    """A clip of the ground truth and one method's maps of it.

    Attributes:
        method: Name of the method.
        truth: Clip with its masks.
        folder: Folder of the maps; may be absent.
        present: Whether the map of each frame is there; empty until they are checked.
    """

    method: str
    truth: Clip
    folder: Path
    present: tuple[bool, ...] = ()

    def map_path(self, index: int) -> Path:
        """Return where the map of a frame is, or should be."""
        return self.folder / f"{self.truth.stems[index]}.png"


# --- the ground truth ---


def index_truth(gt: Path, settings: Settings) -> list[Clip]:
    """Return the clips of all subsets, each in the order of the protocol.

    Args:
        gt: SUN-SEG root, one of its subset folders (holds `GT`), or a folder of clip folders.
        settings: Which subsets, where their frames are, and whether these are needed.

    Raises:
        DataError: No such folder, an unknown or absent subset, a clip without masks, or frames
            that are needed and not there.
    """
    if not gt.is_dir():
        raise DataError(f"no folder {gt}; gt is a SUN-SEG root or a folder of clips with masks")
    frames, present = settings.frames, present_subsets(gt, "GT")
    homes: list[tuple[str, Path, Path | None]] = []  # subset, its masks, its frames
    if present:
        for subset in _subsets_of(gt, present, settings.subsets):
            base = SUBSETS[subset]
            homes.append((subset, gt / base / "GT", (frames or gt) / base / "Frame"))
    elif settings.subsets is not None:
        raise DataError(
            f"subsets {list(settings.subsets)} are parts of a SUN-SEG root, and {gt} holds none of "
            f"{', '.join(f'{folder}/GT' for folder in SUBSETS.values())}; leave subsets out"
        )
    elif (gt / "GT").is_dir():
        homes.append((ALL, gt / "GT", frames or gt / "Frame"))
    else:
        homes.append((ALL, gt, frames))
    clips = []
    for subset, masks, frame_root in homes:
        for folder in list_clip_folders(masks, "masks"):
            frame_folder = frame_root / folder.name if frame_root else None
            clips.append(_truth_clip(folder, subset, frame_folder, settings))
    if settings.polyp_free is None:
        return with_rates(clips, gt)
    free = index_clip_folders(settings.polyp_free, POLYP_FREE)
    own_table = (settings.polyp_free / RATES_FILE).is_file()
    return [*with_rates(clips, gt), *with_rates(free, settings.polyp_free if own_table else gt)]


def read_truth(clip: Clip, index: int) -> Mask:
    """Return the mask of a frame, bool [H, W]; that of a polyp-free clip is empty."""
    mask = clip.masks[index]
    return np.zeros(read_size(clip.frames[index]), np.bool_) if mask is None else read_mask(mask)


def _subsets_of(gt: Path, present: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
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


def _truth_clip(masks: Path, subset: str, frames: Path | None, settings: Settings) -> Clip:
    """Return the clip of a folder of masks; refuse frames that are needed and not there."""
    if not (settings.sparse_masks or settings.quality):
        return index_truth_clip(masks, subset, frames)
    needed_by = "sparse_masks" if settings.sparse_masks else "quality"
    if frames is None or not frames.is_dir():
        raise DataError(
            f"{needed_by}=true reads the frames of {masks.name}, and there is no folder "
            f"{frames or '(frames=...)'}; say where they are with frames=DIR"
        )
    if settings.sparse_masks:
        return index_clip(frames, subset, masks)
    clip = index_truth_clip(masks, subset, frames)
    if not clip.frames:
        there = {frame_stem(path) for path in list_images(frames)}
        absent = [stem for stem in clip.stems if stem not in there]
        raise DataError(
            f"{len(absent)} masks of {clip.name} have no frame in {frames}, e.g. {absent[0]}; "
            "quality=true reads a frame for every mask"
        )
    return clip


# --- the maps ---


def find_methods(pred: Path, clips: Sequence[Clip], name: str | None) -> dict[str, Path]:
    """Return the maps of one method, or of every method in a folder of methods.

    A single method is called `name`, or else as its folder.

    Returns:
        Root of each method's maps by its name, sorted.

    Raises:
        DataError: Neither of the two, or a folder among methods that holds none of the maps.
    """
    if not pred.is_dir():
        raise DataError(f"no folder {pred}; pred is a folder of maps, or a folder of methods")
    homes = list(dict.fromkeys(home for clip in clips for home in _homes(clip.subset, clip.name)))

    def holds_maps(tree: Path) -> bool:
        return any((tree / home).is_dir() for home in homes)

    if holds_maps(pred):
        return {name or pred.resolve().name: pred}
    entries = _others(pred, set())
    methods = {path.name: path for path in entries if path.is_dir() and holds_maps(path)}
    if not methods:
        wanted = " or ".join(str(pred / home) for home in _homes(clips[0].subset, clips[0].name))
        got = ", ".join(path.name for path in entries[:5]) or "nothing"
        raise DataError(
            f"no maps in {pred}: wanted {wanted}, or folders of methods that hold these; got {got}"
        )
    strays = [path.name for path in entries if path.name not in methods]
    if strays:
        raise DataError(
            f"{pred} is a folder of methods ({', '.join(methods)}) and holds {len(strays)} extra: "
            f"{', '.join(strays[:5])}; no maps of these subsets are in there, move it elsewhere"
        )
    return methods


def maps_of(tree: Path, method: str, clips: Sequence[Clip]) -> list[ClipMaps]:
    """Return each clip of the ground truth with the folder of its maps.

    Raises:
        DataError: A subset's maps are in two places.
    """
    homes = {subset: _subset_home(tree, subset) for subset in {clip.subset for clip in clips}}
    return [ClipMaps(method, clip, homes[clip.subset] / clip.name) for clip in clips]


def extra_entries(tree: Path, clips: Sequence[Clip]) -> list[Path]:
    """Return the entries of a tree of maps that are neither clips nor subsets of SUN-SEG.

    Subsets that are not scored this time may be there; anything else is a sign that the maps
    are not what they seem.
    """
    by_subset: dict[str, set[str]] = {}
    for clip in clips:
        by_subset.setdefault(clip.subset, set()).add(clip.name)
    clip_names = by_subset.pop(ALL, None)
    if clip_names is not None:
        extra = _others(tree, {*clip_names, *by_subset})
    else:
        tops = {folder.split("/")[0] for folder in SUBSETS.values()}
        extra = _others(tree, {*tops, *SUBSETS, *by_subset, POLYP_FREE})
        for top in sorted(tops - {"TrainDataset"}):
            extra += _others(tree / top, {"Seen", "Unseen"})
    for subset, names in sorted(by_subset.items()):
        extra += _others(_subset_home(tree, subset), names)
    return extra


def operating_point_of(maps: ClipMaps, tree: Path, settings: Settings) -> OperatingPoint | None:
    """Return the operating point at which a clip is scored too; None for no such scores.

    That which the prediction of its maps wrote next to them counts unless it is probability 0.5, at
    which maps are scored anyway.
    """
    if settings.threshold is None or not settings.with_clinical:
        return None
    if settings.threshold != "checkpoint":
        return OperatingPoint(float(settings.threshold))
    for folder in maps.folder.parents:
        stored = read_json(folder / MANIFEST).get("operating_point")
        if stored is not None:
            point = OperatingPoint(**stored)
            return None if point == OperatingPoint() else point
        if folder == tree:
            break
    return None


def needed_frames(clip: Clip, with_clinical: bool) -> list[bool]:
    """Return which frames of a clip are scored at all.

    VPS leaves out the first and the last; frames that nobody annotated are left out by both.
    """
    return [
        (with_clinical or is_scored(index, len(clip))) and (mask is not None or clip.is_polyp_free)
        for index, mask in enumerate(clip.masks)
    ]


def _homes(subset: str, clip: str = ".") -> list[str]:
    """Return the folders in a tree of maps that may hold those of a subset; of `ALL`, of a clip."""
    if subset == ALL:
        return [clip]
    return [SUBSETS[subset], subset] if subset in SUBSETS else [subset]


def _subset_home(tree: Path, subset: str) -> Path:
    homes = [tree / home for home in _homes(subset)]
    there = [home for home in homes if home.is_dir()]
    if len(there) > 1:
        raise DataError(f"maps of {subset} are both in {there[0]} and in {there[1]}; remove one")
    return there[0] if there else homes[-1]


def _others(folder: Path, known: set[str]) -> list[Path]:
    entries = visible(folder) if folder.is_dir() else []
    return [path for path in entries if path.name not in {*known, MANIFEST}]
