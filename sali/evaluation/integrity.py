"""Are the maps there, one for each mask, and readable? Looked at before anything is scored."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sali.data.frames import check_header, read_grey, read_mask, read_size
from sali.data.index import Clip
from sali.data.listing import frame_stem, visible
from sali.errors import DataError, FrameError
from sali.evaluation.inputs import ClipMaps, extra_entries, maps_of, needed_frames
from sali.evaluation.settings import Settings
from sali.run.io import write_text
from sali.run.workers import Workers

log = logging.getLogger(__name__)

KINDS = ("missing", "misnamed", "extra", "unreadable")
_SHOWN = 3


class Problem(NamedTuple):
    """Something that keeps maps from being scored.

    Attributes:
        kind: One of `KINDS`.
        what: File or folder, and what is wrong with it.
        number: Number of maps that it concerns.
    """

    kind: str
    what: str
    number: int = 1


def check_maps(
    pool: Workers,
    trees: Mapping[str, Path],
    clips: Sequence[Clip],
    settings: Settings,
    report: Path,
) -> list[ClipMaps]:
    """Compare the files of all methods' maps with those of the masks.

    All problems are listed in the file `report`, which is absent where there are none.

    Returns:
        The clips of all methods with what is there filled in.

    Raises:
        DataError: Maps that do not belong to the masks one to one, or cannot be read.
    """
    tasks = [
        (maps, settings.with_clinical, number == 0)
        for number, (name, tree) in enumerate(trees.items())
        for maps in maps_of(tree, name, clips)
    ]
    checked = pool.run(_check, tasks, [len(maps.truth) for maps, *_ in tasks], "checking")
    lines, errors = [], []
    for name, tree in trees.items():
        own = [one for one in checked if one[0].method == name]
        problems = [problem for _, found, *_ in own for problem in found]
        problems += [Problem("extra", str(path)) for path in extra_entries(tree, clips)]
        if sizes := [f"{maps.folder} {resized}" for maps, _, _, resized in own if resized]:
            log.warning(
                "maps of %s are resized to their masks, as the protocol does, in %d clips, e.g. %s",
                *(name, len(sizes), sizes[0]),
            )
        if max(highest for _, _, highest, _ in own) == 1:
            what = f"the maps of {name} hold only the values 0 and 1, wanted probability x 255"
            problems.append(Problem("unreadable", what))
        lines += [f"{name}\t{problem.kind}\t{problem.what}" for problem in problems]
        refused = [one for one in problems if settings.missing == "error" or one.kind != "missing"]
        if refused:
            errors.append(_in_short(name, refused))
    report.unlink(missing_ok=True)
    if lines:
        write_text(report, "\n".join(lines) + "\n")
    if errors:
        raise DataError(f"{'; '.join(errors)}; all listed in {report}")
    return [maps for maps, *_ in checked]


def _check(
    maps: ClipMaps, with_clinical: bool, with_masks: bool
) -> tuple[ClipMaps, list[Problem], int, str]:
    """Return the clip with `present` filled in, its problems, and what its middle map says of all.

    Returns:
        Clip, problems, largest value of the middle map (-1 without one), and the sizes of that map
        and its mask where they differ, else "".
    """
    maps, problems = _match_names(maps, needed_frames(maps.truth, with_clinical))
    middle = len(maps.truth) // 2
    highest, resized = -1, ""
    for index, mask in enumerate(maps.truth.masks):
        try:
            if with_masks and mask is not None:
                check_header(mask, read_mask)
                if index == middle:
                    read_mask(mask)
            if maps.present[index]:
                check_header(maps.map_path(index), read_grey)
                if index == middle:
                    grey = read_grey(maps.map_path(index))
                    highest = int(grey.max())
                    size = read_size(mask or maps.truth.frames[index])
                    if grey.shape != size:
                        resized = "({}x{} to {}x{})".format(*grey.shape, *size)
        except (FrameError, OSError) as error:
            problems.append(Problem("unreadable", str(error)))
    return maps, problems, highest, resized


def _match_names(maps: ClipMaps, needed: Sequence[bool]) -> tuple[ClipMaps, list[Problem]]:
    """Fill in which maps are there, and list names that should not be or are not."""
    stems = maps.truth.stems
    there = {path.name for path in visible(maps.folder)} if maps.folder.is_dir() else set()
    present = tuple(f"{stem}.png" in there for stem in stems)
    maps = replace(maps, present=present)
    absent = {stem.lower(): stem for stem, found in zip(stems, present, strict=True) if not found}
    problems = []
    for name in sorted(there - {f"{stem}.png" for stem in stems}):
        stem = absent.pop(frame_stem(Path(name)).lower(), None)
        if stem is None:
            problems.append(Problem("extra", str(maps.folder / name)))
        else:
            how = " with composed letters (Unicode NFC)" if frame_stem(Path(name)) == stem else ""
            what = f"{maps.folder / name}, wanted {stem}.png"
            problems.append(Problem("misnamed", what + how * (Path(name).suffix == ".png")))
    lost = [
        stem
        for stem, is_needed in zip(stems, needed, strict=True)
        if is_needed and stem.lower() in absent
    ]
    if lost and not there:
        state = "is empty" if maps.folder.is_dir() else "is not there"
        what = f"{maps.folder} {state}, {len(lost)} maps"
        return maps, [Problem("missing", what, len(lost)), *problems]
    problems += [Problem("missing", str(maps.folder / f"{stem}.png")) for stem in lost]
    return maps, problems


def _in_short(method: str, problems: Iterable[Problem]) -> str:
    """Return one line about all problems of a method, with examples of each kind."""
    parts = []
    by_kind = {kind: [one for one in problems if one.kind == kind] for kind in KINDS}
    for kind, found in by_kind.items():
        if found:
            examples = [one.what for one in found[:_SHOWN]] + ["..."] * (len(found) > _SHOWN)
            parts.append(f"{sum(one.number for one in found)} {kind} ({', '.join(examples)})")
    only_extra = len(by_kind["extra"]) == sum(map(len, by_kind.values()))
    only_missing = len(by_kind["missing"]) == sum(map(len, by_kind.values()))
    hint = "; missing=zero or missing=skip scores without" if only_missing else ""
    if only_extra and all(Path(one.what).suffix for one in by_kind["extra"]):
        hint = "; sparse_masks=true leaves out frames that were not annotated"
    return f"maps of {method}: {'; '.join(parts)}{hint}"
