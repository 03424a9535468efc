"""What can be wrong with clips on disk: missing, unreadable, misfit or leaked files."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sali.data.clips import SUBSETS, Clip, list_frames
from sali.data.frames import check_size, read_frame, read_mask
from sali.errors import DataError, FrameError

POLYP_FREE = "polyp_free"
TESTED_ON_UNSEEN_CASES = ("unseen_easy", "unseen_hard")
COARSEST = 1
"""Side to decode near: a JPEG is then read to its end at an eighth of its size, which is enough to
find a file that is cut off."""


@dataclass(frozen=True)
class ClipFolder:
    """Where the files of one clip lie; ``masks`` is None for clips that need none."""

    subset: str
    frames: Path
    masks: Path | None


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: "count", "clip", "missing_mask", "stray_mask", "unreadable", "size",
            "duplicate" or "case".
        subset: where.
        message: what, with the file.
    """

    kind: str
    subset: str
    message: str


@dataclass(frozen=True)
class ClipReport:
    """What inspecting one clip found.

    Attributes:
        subset: name of the subset.
        name: of the clip.
        num_frames: files, readable or not.
        hashes: of the content of the readable frames.
        problems: in the order of the frames.
    """

    subset: str
    name: str
    num_frames: int
    hashes: tuple[tuple[Path, str], ...]
    problems: tuple[Problem, ...]


def clip_folders(root: Path, subsets: Iterable[str]) -> list[ClipFolder]:
    """Clip folders of subsets; those that only have masks too."""
    found = []
    for subset in subsets:
        base = root / SUBSETS[subset]
        names = {p.name for kind in ("Frame", "GT") for p in _folders(base / kind)}
        found += [ClipFolder(subset, base / "Frame" / n, base / "GT" / n) for n in sorted(names)]
    return found


def polyp_free_folders(folder: Path) -> list[ClipFolder]:
    """Clip folders of frames without a polyp, which have no masks.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    return [ClipFolder(POLYP_FREE, path, None) for path in sorted(_folders(folder))]


def inspect_clip(clip: ClipFolder) -> ClipReport:
    """Read all frames and masks of a clip."""
    problems: list[Problem] = []
    hashes: list[tuple[Path, str]] = []

    def tell(kind: str, message: object) -> None:
        problems.append(Problem(kind, clip.subset, str(message)))

    def images(folder: Path) -> dict[str, Path]:
        try:
            return {path.stem: path for path in list_frames(folder)}
        except DataError as error:
            tell("clip", error)
            return {}

    frames = images(clip.frames)
    masks = images(clip.masks) if clip.masks is not None else {}
    for stem, frame in frames.items():
        size = None
        try:
            _, size = read_frame(frame, near=COARSEST)
            hashes.append((frame, _content_hash(frame)))
        except FrameError as error:
            tell("unreadable", error)
        if clip.masks is None or not masks:
            continue  # told once for the clip
        if stem not in masks:
            tell("missing_mask", f"frame {frame} has no mask")
            continue
        try:
            mask = read_mask(masks[stem])
        except FrameError as error:
            tell("unreadable", error)
            continue
        try:
            if size is not None:
                check_size(frame, size, masks[stem], mask)
        except FrameError as error:
            tell("size", error)
    for stem in sorted(set(masks) - set(frames)) if frames else ():
        tell("stray_mask", f"mask {masks[stem]} has no frame")
    return ClipReport(clip.subset, clip.frames.name, len(frames), tuple(hashes), tuple(problems))


def compare_counts(
    reports: Sequence[ClipReport], counts: Mapping[str, Mapping[str, int]]
) -> list[Problem]:
    """Numbers of clips and frames that are not as published."""
    problems = []
    for subset, wanted in counts.items():
        got = count(reports, subset)
        problems += [
            Problem("count", subset, f"{subset} has {got[what]} {what}, published are {number}")
            for what, number in wanted.items()
            if got[what] != number
        ]
    return problems


def count(reports: Sequence[ClipReport], subset: str) -> dict[str, int]:
    """Clips and frames of a subset."""
    own = [report for report in reports if report.subset == subset]
    return {"clips": len(own), "frames": sum(report.num_frames for report in own)}


def leaked_cases(reports: Sequence[ClipReport]) -> list[Problem]:
    """Cases that are trained on although their subset says that they are not."""
    case_of = {report: Clip(report.name, report.subset, (), ()).case for report in reports}
    trained = {case for report, case in case_of.items() if report.subset == "train"}
    return [
        Problem("case", report.subset, f"{report.name}: {case} is also in the training set")
        for report, case in case_of.items()
        if report.subset in TESTED_ON_UNSEEN_CASES and case in trained
    ]


def duplicates(reports: Sequence[ClipReport]) -> list[Problem]:
    """Frames of equal content in two subsets.

    Equal frames within a subset are no problem: a video may stand still.
    """
    by_content: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for report in reports:
        for path, content in report.hashes:
            by_content[content].append((report.subset, path))
    problems = []
    for (home, first), *others in by_content.values():
        problems += [
            Problem("duplicate", subset, f"{path} is the same picture as {first}")
            for subset, path in others
            if subset != home
        ]
    return problems


def _content_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
