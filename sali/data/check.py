"""Is a copy of SUN-SEG complete, readable, and without frames in two subsets?

python -m sali.data.check root=/data/SUN-SEG
"""

import hashlib
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from sali.cli import command
from sali.config import check_config
from sali.data.frames import check_size, read_frame, read_mask
from sali.data.index import POLYP_FREE, STILLS, SUBSETS
from sali.data.listing import (
    case_of,
    frame_stem,
    list_images,
    litter_counted,
    masks_by_frame,
    visible,
)
from sali.data.time_order import closest_order
from sali.errors import ConfigError, DataError, FrameError
from sali.run.io import write_json
from sali.run.workers import workers

log = logging.getLogger(__name__)

Counts = Mapping[str, Mapping[str, int]]
UNSEEN = ("unseen_easy", "unseen_hard")
COARSEST = 1
"""Side to decode near: a JPEG is then read to its end at an eighth of its size, which is enough to
find a file that is cut off."""
_HALF = 0.5
"""Share of a frame above which a mask that holds all its corners is probably inverted."""
_SORT_ALIKE = 10
"""Number of frames up to which numbers from 0 sort as text as they do as numbers."""


class ClipFolder(NamedTuple):
    """Folders of the frames and the masks of one clip; clips without a polyp need no masks."""

    subset: str
    frames: Path
    masks: Path | None


class Problem(NamedTuple):
    """One thing that is wrong.

    The kind is "count", "clip", "missing_mask", "stray_mask", "unreadable", "size", "inverted",
    "order", "duplicate" or "case"; the message names the file.
    """

    kind: str
    subset: str
    message: str


class ClipReport(NamedTuple):
    """Result of inspecting one clip; `hashes` are of the content of its readable frames."""

    subset: str
    name: str
    num_frames: int
    hashes: tuple[tuple[Path, str], ...]
    problems: tuple[Problem, ...]


@litter_counted()
def check(
    root: Path,
    counts: Counts | None,
    polyp_free: Path | None,
    num_workers: int | None,
    order: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Inspect all clips.

    Args:
        root: Folder in the SUN-SEG layout.
        counts: Subset -> {"clips", "frames"} as published; None compares nothing and takes the
            subsets that are there.
        polyp_free: Folder of clip folders of frames without a polyp.
        num_workers: Number of processes; None for one per core.
        order: Group `time_order` of the configuration, see `closest_order`; None does not look for
            another order.

    Returns:
        {"root", "subsets": {name: {"clips", "frames", "published", "problems": {kind: number}}},
        "problems": [{"kind", "subset", "message"}]}.

    Raises:
        DataError: No clips at all.
        ConfigError: Counts of a subset that does not exist.
    """
    names = [*SUBSETS, STILLS, POLYP_FREE]
    unknown = sorted(set(counts or ()) - set(names))
    if unknown:
        raise ConfigError(f"counts: unknown subset {unknown[0]!r}; wanted {', '.join(SUBSETS)}")
    wanted = {n: c for n, c in (counts or {}).items() if n != POLYP_FREE or polyp_free is not None}
    folders = clip_folders(root)
    if not folders:
        raise DataError(
            f"no clips in {root}; wanted the SUN-SEG layout, e.g. {SUBSETS['train']}/Frame/<clip>/"
        )
    if polyp_free is not None:
        if not polyp_free.is_dir():
            raise DataError(f"no folder {polyp_free}")
        folders += [ClipFolder(POLYP_FREE, path, None) for path in _folders(polyp_free)]
    with workers(num_workers, len(folders)) as pool:
        sizes = [len(visible(f.frames)) if f.frames.is_dir() else 0 for f in folders]
        inspect = partial(inspect_clip, order=order)
        reports = pool.run(inspect, [(one,) for one in folders], sizes, "reading")
    problems = [problem for report in reports for problem in report.problems]
    # A case that is trained on although its subset says that it is not.
    trained = {case_of(report.name) for report in reports if report.subset == "train"}
    for subset, name, *_ in reports:
        if subset in UNSEEN and case_of(name) in trained:
            leak = f"{name}: {case_of(name)} is also in the training set"
            problems.append(Problem("case", subset, leak))
    problems += duplicates(reports)
    subsets: dict[str, dict[str, Any]] = {}
    for name in names:
        own = [report for report in reports if report.subset == name]
        if not own and name not in wanted:
            continue
        found = {"clips": len(own), "frames": sum(report.num_frames for report in own)}
        published = wanted.get(name)
        problems += [
            Problem("count", name, f"{name} has {found[what]} {what}, published are {number}")
            for what, number in (published or {}).items()
            if found[what] != number
        ]
        kinds = Counter(problem.kind for problem in problems if problem.subset == name)
        subsets[name] = {**found, "published": published, "problems": dict(kinds)}
    return {
        "root": str(root),
        "subsets": subsets,
        "problems": [problem._asdict() for problem in problems],
    }


def clip_folders(root: Path) -> list[ClipFolder]:
    """Return the stills and the clip folders of all subsets, those that only have masks too."""
    found = []
    if (root / STILLS).is_dir():
        found.append(ClipFolder(STILLS, root / STILLS / "images", root / STILLS / "masks"))
    for subset, folder in SUBSETS.items():
        frames, masks = root / folder / "Frame", root / folder / "GT"
        names = {path.name for home in (frames, masks) for path in _folders(home)}
        found += [ClipFolder(subset, frames / name, masks / name) for name in sorted(names)]
    return found


def inspect_clip(clip: ClipFolder, order: Mapping[str, float] | None = None) -> ClipReport:
    """Read all frames and masks of a clip; `order` as of `check`."""
    problems: list[Problem] = []
    hashes: list[tuple[Path, str]] = []

    def add(kind: str, message: object) -> None:
        problems.append(Problem(kind, clip.subset, str(message)))

    def images(folder: Path) -> list[Path]:
        try:
            return list_images(folder)
        except DataError as error:
            add("clip", error)
            return []

    frames = {frame_stem(path): path for path in images(clip.frames)}
    masks = masks_by_frame(images(clip.masks) if clip.masks is not None else [], frames)
    for stem, frame in frames.items():
        size = None
        try:
            _, size = read_frame(frame, near=COARSEST)
            with frame.open("rb") as file:
                hashes.append((frame, hashlib.file_digest(file, "blake2b").hexdigest()))
        except FrameError as error:
            add("unreadable", error)
        if not masks:
            continue  # none are needed, or the whole folder was reported above
        if stem not in masks:
            add("missing_mask", f"frame {frame} has no mask")
            continue
        try:
            mask = read_mask(masks[stem])
        except FrameError as error:
            add("unreadable", error)
            continue
        if mask[:: len(mask) - 1 or 1, :: mask.shape[1] - 1 or 1].all() and mask.mean() > _HALF:
            add(
                "inverted",
                f"mask {masks[stem]} marks all corners and {mask.mean():.0%} of the frame; "
                "is black the polyp in it?",
            )
        try:
            if size is not None:
                check_size(frame, size, masks[stem], mask)
        except FrameError as error:
            add("size", error)
    numbered = [stem for stem in frames if stem.isdecimal()]
    if order is not None and len(numbered) == len(frames) > _SORT_ALIKE and not problems:
        found = closest_order(
            list(frames.values()), int(order["max_first"]), int(order["max_step"])
        )
        if found.gain >= order["min_gain"]:
            add("order", f"frames of {clip.frames} are probably not in order of time: {found}")
    for stem in sorted(set(masks) - set(frames)) if frames else ():
        add("stray_mask", f"mask {masks[stem]} has no frame")
    return ClipReport(clip.subset, clip.frames.name, len(frames), tuple(hashes), tuple(problems))


def duplicates(reports: Sequence[ClipReport]) -> list[Problem]:
    """Return the frames of equal content in two subsets.

    Equal frames within a subset are no problem: a video may stand still.
    """
    by_content: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for report in reports:
        for path, content in report.hashes:
            by_content[content].append((report.subset, path))
    return [
        Problem("duplicate", subset, f"{path} is the same picture as {first}")
        for (home, first), *others in by_content.values()
        for subset, path in others
        if subset != home
    ]


def show(found: Mapping[str, Any], most: int) -> None:
    """Show the table of subsets and the first problems on the terminal."""
    console = Console()
    table = Table(title=found["root"])
    for column in ("subset", "clips", "published", "frames", "published", "problems"):
        table.add_column(column, justify="left" if column in ("subset", "problems") else "right")
    for name, row in found["subsets"].items():
        published = row["published"] or {}
        kinds = ", ".join(f"{number} {kind}" for kind, number in row["problems"].items())
        numbers = [
            str(value) for k in ("clips", "frames") for value in (row[k], published.get(k, "-"))
        ]
        table.add_row(name, *numbers, kinds or "none")
    console.print(table)
    for problem in found["problems"][:most]:
        console.print(f"{problem['kind']}: {problem['message']}", markup=False, soft_wrap=True)
    if len(found["problems"]) > most:
        console.print(f"... and {len(found['problems']) - most} more, see check.json")


def _folders(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir()] if folder.is_dir() else []


@command("check")
def main(cfg: DictConfig) -> None:
    """Run `check` from the command line; the exit code is 1 if there is any problem."""
    check_config(cfg, "check")
    given: Any = OmegaConf.to_container(cfg)
    polyp_free = Path(cfg.polyp_free) if cfg.polyp_free else None
    found = check(Path(cfg.root), given["counts"], polyp_free, cfg.num_workers, given["time_order"])
    report = Path(cfg.output) / "check.json"
    write_json(report, found)
    show(found, cfg.show)
    log.info("report: %s", report)
    sys.exit(1 if found["problems"] else 0)


if __name__ == "__main__":
    main()
