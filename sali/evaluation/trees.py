"""Which maps belong to which masks: trees of predictions, and folders of such trees."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sali.data.clips import SUBSETS
from sali.data.order import is_scored
from sali.errors import DataError
from sali.evaluation.ground_truth import ALL, POLYP_FREE, TruthClip


@dataclass(frozen=True)
class ClipMaps:
    """A clip of the ground truth and one method's maps of it.

    Attributes:
        method: name of the method.
        truth: the clip.
        folder: where its maps are; may be absent.
        present: one per frame, whether the map is there; empty until `match_clip`.
    """

    method: str
    truth: TruthClip
    folder: Path
    present: tuple[bool, ...] = ()

    def map_path(self, index: int) -> Path:
        """Where the map of a frame is, or should be."""
        return self.folder / f"{Path(self.truth.files[index]).stem}.png"


def find_methods(pred: Path, clips: Sequence[TruthClip], name: str | None) -> dict[str, Path]:
    """Tells whether `pred` is the maps of one method or a folder of methods.

    Args:
        pred: what the user gave.
        clips: what is to be scored.
        name: name for a single method; None for that of its folder.

    Returns:
        The root of each method's maps by its name, sorted.

    Raises:
        DataError: neither of the two, or a folder among methods that holds none of the maps.
    """
    if not pred.is_dir():
        raise DataError(f"no folder {pred}; pred is a folder of maps, or a folder of methods")
    if _holds_maps(pred, clips):
        return {name or pred.resolve().name: pred}
    entries = _visible(pred)
    methods = {p.name: p for p in entries if p.is_dir() and _holds_maps(p, clips)}
    if not methods:
        wanted = " or ".join(str(pred / folder) for folder in _first_folders(clips))
        got = ", ".join(p.name for p in entries[:5]) or "nothing"
        raise DataError(
            f"no maps in {pred}: wanted {wanted}, or folders of methods that hold these; got {got}"
        )
    strays = [p.name for p in entries if p.name not in methods]
    if strays:
        raise DataError(
            f"{pred} is a folder of methods ({', '.join(methods)}) and holds {len(strays)} extra: "
            f"{', '.join(strays[:5])}; no maps of these subsets are in there, move it elsewhere"
        )
    return methods


def maps_of(tree: Path, method: str, clips: Sequence[TruthClip]) -> list[ClipMaps]:
    """Puts each clip of the ground truth beside the folder of its maps.

    Raises:
        DataError: a subset's maps are in two places.
    """
    homes = {subset: _subset_home(tree, subset) for subset in {clip.subset for clip in clips}}
    return [ClipMaps(method, clip, homes[clip.subset] / clip.name) for clip in clips]


def extra_entries(tree: Path, clips: Sequence[TruthClip]) -> list[Path]:
    """What lies in a tree of maps besides the clips and the subsets that SUN-SEG has.

    Subsets that are not scored this time may be there; anything else is a sign that the maps
    are not what they seem.
    """
    by_subset: dict[str, set[str]] = {}
    for clip in clips:
        by_subset.setdefault(clip.subset, set()).add(clip.name)
    extra: list[Path] = []
    if ALL in by_subset:
        known = by_subset[ALL] | ({POLYP_FREE} if POLYP_FREE in by_subset else set())
        extra += _others(tree, known)
    else:
        tops = {folder.split("/")[0] for folder in SUBSETS.values()}
        extra += _others(tree, {*tops, *SUBSETS, *by_subset, POLYP_FREE})
        for top in sorted(tops - {"TrainDataset"}):
            extra += _others(tree / top, {"Seen", "Unseen"})
    for subset, names in sorted(by_subset.items()):
        if subset != ALL:
            extra += _others(_subset_home(tree, subset), names)
    return extra


def needed_frames(clip: TruthClip, with_clinical: bool) -> list[bool]:
    """Which frames of a clip are scored at all: VPS leaves out the first and the last."""
    number = len(clip.files)
    return [with_clinical or is_scored(index, number) for index in range(number)]


def _first_folders(clips: Iterable[TruthClip]) -> list[str]:
    first = next(iter(clips))
    if first.subset == ALL:
        return [first.name]
    return [SUBSETS[first.subset], first.subset] if first.subset in SUBSETS else [first.subset]


def _holds_maps(tree: Path, clips: Sequence[TruthClip]) -> bool:
    return any(
        (tree / clip.name).is_dir()
        if clip.subset == ALL
        else any((tree / home).is_dir() for home in _homes(clip.subset))
        for clip in clips
    )


def _homes(subset: str) -> list[str]:
    return [SUBSETS[subset], subset] if subset in SUBSETS else [subset]


def _subset_home(tree: Path, subset: str) -> Path:
    if subset == ALL:
        return tree
    there = [tree / home for home in _homes(subset) if (tree / home).is_dir()]
    if len(there) > 1:
        raise DataError(f"maps of {subset} are both in {there[0]} and in {there[1]}; remove one")
    return there[0] if there else tree / subset


def _visible(folder: Path) -> list[Path]:
    """Entries of a folder, sorted; hidden files belong to file managers and are not looked at."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith("."))


def _others(folder: Path, known: set[str]) -> list[Path]:
    return [p for p in _visible(folder) if p.name not in known] if folder.is_dir() else []
