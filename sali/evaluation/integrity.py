"""Are all maps there, rightly named and readable? Asked before anything is scored."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sali.errors import DataError, FrameError
from sali.evaluation.reading import check_header, read_grey, read_mask
from sali.evaluation.trees import ClipMaps, needed_frames

KINDS = ("missing", "misnamed", "extra", "unreadable")
_SHOWN = 3


@dataclass(frozen=True)
class Problem:
    """Something that keeps maps from being scored.

    Attributes:
        kind: one of `KINDS`.
        what: file or folder, and what is wrong with it.
        number: how many maps it concerns.
    """

    kind: str
    what: str
    number: int = 1


@dataclass(frozen=True)
class ClipCheck:
    """What was found of one clip.

    Attributes:
        maps: the clip, with `present` filled in.
        problems: in the order of frames.
        sample: largest value of the map in the middle; None if there is none.
    """

    maps: ClipMaps
    problems: tuple[Problem, ...]
    sample: int | None


def check_clip(maps: ClipMaps, with_clinical: bool, with_masks: bool) -> ClipCheck:
    """Compares the files of a clip's maps with those of its masks.

    Args:
        maps: the clip.
        with_clinical: whether the first and the last frame are needed too.
        with_masks: whether to look into the masks as well; once is enough for several methods.
    """
    maps, problems = _match_names(maps, needed_frames(maps.truth, with_clinical))
    middle = len(maps.truth.files) // 2
    sample = None
    for index, name in enumerate(maps.truth.files):
        try:
            if with_masks and maps.truth.has_masks:
                check_header(maps.truth.folder / name)
                if index == middle:
                    read_mask(maps.truth.folder / name)
            if maps.present[index]:
                check_header(maps.map_path(index))
                if index == middle:
                    sample = int(read_grey(maps.map_path(index)).max())
        except (FrameError, OSError) as error:
            problems.append(Problem("unreadable", str(error)))
    return ClipCheck(maps, tuple(problems), sample)


def judge(method: str, checks: Sequence[ClipCheck], extra: Iterable[Path], missing: str) -> None:
    """Refuses maps that do not fit.

    Args:
        method: name of the method, for the message.
        checks: of all its clips.
        extra: what else lies in its tree.
        missing: "error", or anything else to let missing maps pass.

    Raises:
        IntegrityError: with everything that is wrong.
    """
    problems = [problem for check in checks for problem in check.problems]
    problems += [Problem("extra", str(path)) for path in extra]
    samples = [check.sample for check in checks if check.sample is not None]
    if samples and max(samples) == 1:
        problems.append(
            Problem(
                "unreadable",
                f"the maps of {method} hold only the values 0 and 1, wanted probability x 255",
            )
        )
    if missing != "error":
        problems = [problem for problem in problems if problem.kind != "missing"]
    if problems:
        raise IntegrityError(method, problems)


class IntegrityError(DataError):
    """Maps that do not belong to the masks one to one, or cannot be read."""

    def __init__(self, method: str, problems: Sequence[Problem]) -> None:
        self.method = method
        self.problems = tuple(problems)
        super().__init__(self._line())

    def __reduce__(self) -> tuple[type, tuple[str, tuple[Problem, ...]]]:
        """Pickles by its parts: the message is made of them."""
        return type(self), (self.method, self.problems)

    def _line(self) -> str:
        counts = Counter[str]()
        for problem in self.problems:
            counts[problem.kind] += problem.number
        parts = []
        for kind in KINDS:
            of_kind = [p.what for p in self.problems if p.kind == kind]
            if of_kind:
                more = ", ..." if len(of_kind) > _SHOWN else ""
                parts.append(f"{counts[kind]} {kind} ({', '.join(of_kind[:_SHOWN])}{more})")
        hint = (
            "; missing=zero or missing=skip goes on without" if set(counts) == {"missing"} else ""
        )
        return f"maps of {self.method}: {'; '.join(parts)}{hint}"


def problem_lines(method: str, problems: Iterable[Problem]) -> list[str]:
    """One line per problem: method, kind, what."""
    return [f"{method}\t{problem.kind}\t{problem.what}" for problem in problems]


def _match_names(maps: ClipMaps, needed: Sequence[bool]) -> tuple[ClipMaps, list[Problem]]:
    """Fills in which maps are there, and lists names that should not be or are not."""
    stems = maps.truth.stems
    there = _names(maps.folder)
    present = tuple(f"{stem}.png" in there for stem in stems)
    maps = replace(maps, present=present)
    absent = {
        stem.lower(): stem
        for stem, is_present in zip(stems, present, strict=True)
        if not is_present
    }
    problems = []
    for name in sorted(there - {f"{stem}.png" for stem in stems}):
        stem = absent.get(Path(name).stem.lower())
        if stem is None:
            problems.append(Problem("extra", str(maps.folder / name)))
        else:
            problems.append(Problem("misnamed", f"{maps.folder / name}, wanted {stem}.png"))
            absent.pop(stem.lower())
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


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}
