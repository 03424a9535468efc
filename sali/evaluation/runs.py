"""Runs of frames that are scored on their own, as named in a table."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sali.data.index import Clip
from sali.errors import DataError

Runs = Mapping[str, Sequence[tuple[str, str, str]]]
"""(first frame, last frame, what is wrong with them) of every run, by name of the clip."""
COLUMNS = ("clip", "first", "last", "broken_limits")


def read_runs(path: Path) -> Runs:
    """Read runs from a CSV file with the columns of `COLUMNS`, such as runs.csv of `quality=true`.

    Raises:
        DataError: No such file, or columns that are missing.
    """
    if not path.is_file():
        raise DataError(f"runs: no file {path}")
    runs: dict[str, list[tuple[str, str, str]]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        absent = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if absent:
            raise DataError(
                f"{path} has no column {absent[0]}; wanted the columns {', '.join(COLUMNS)}"
            )
        for row in rows:
            runs.setdefault(row["clip"], []).append(
                (row["first"], row["last"], row["broken_limits"])
            )
    return runs


def check_runs(runs: Runs, clips: Sequence[Clip]) -> None:
    """Refuse runs of clips or frames that are not there.

    Raises:
        DataError: At the first of them.
    """
    by_name = {clip.name: set(clip.stems) for clip in clips}
    for name, own in runs.items():
        if name not in by_name:
            raise DataError(f"runs name clip {name}, which is not among those to score")
        for run in own:
            for frame in run[:2]:
                if frame not in by_name[name]:
                    raise DataError(f"runs name frame {frame} of clip {name}, which it lacks")


def run_rows(clip: Clip, runs: Runs) -> list[dict[str, Any]]:
    """Return for every frame of a clip, as "low_quality", whether it is in a run, and why."""
    number = {stem: index for index, stem in enumerate(clip.stems)}
    rows: list[dict[str, Any]] = [{"broken_limits": "", "low_quality": 0} for _ in number]
    for first, last, why in runs.get(clip.name, ()):
        for index in range(number[first], number[last] + 1):
            rows[index] = {"broken_limits": why, "low_quality": 1}
    return rows


def write_runs(path: Path, runs: Runs) -> None:
    """Write runs so that `read_runs` gives them back."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows((clip, *run) for clip, own in runs.items() for run in own)
