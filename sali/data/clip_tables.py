"""CSV tables by clip that users give: rates of recordings, attributes, runs of frames."""

import csv
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sali.errors import DataError
from sali.run.io import atomic_write

RATES_FILE = "fps.csv"
"""Frames per second of clips, where they differ, in the folder of the data."""
Runs = Mapping[str, Sequence[tuple[str, str, str]]]
"""(first frame, last frame, what is wrong with them) of every run, by name of the clip."""
RUN_COLUMNS = ("clip", "first", "last", "broken_limits")


def read_rates(folder: Path, clips: Collection[str]) -> dict[str, float]:
    """Read `fps.csv` of a folder of data that holds these clips, with the columns `clip,fps`.

    Returns:
        Rate by clip, of those that have a row; nothing without such a file.

    Raises:
        DataError: Another header, a clip that is not there or has two rows, or a rate that is not
            a positive number.
    """
    path = folder / RATES_FILE
    if not path.is_file():
        return {}
    header, lines = _read(path)
    if header != ["clip", "fps"]:
        raise DataError(f"{path}: got the header {','.join(header)!r}, wanted 'clip,fps'")
    rates: dict[str, float] = {}
    for number, (clip, text) in lines:
        if clip in rates:
            raise DataError(f"{path} row {number}: {clip} has a row already")
        if clip not in clips:
            raise DataError(f"{path} row {number}: there is no clip {clip} in {folder}")
        try:
            rates[clip] = float(text)
        except ValueError:
            rates[clip] = math.nan
        if not (math.isfinite(rates[clip]) and rates[clip] > 0):
            raise DataError(f"{path} row {number}: got {text!r} fps for {clip}, wanted > 0")
    return rates


def read_attributes(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the visual attributes of each clip.

    SUN-SEG's documentation lists attributes per clip (say SI, surgical instruments; SO, small
    object; FM, fast motion). The file has either form:

    - `clip,SI,SO,...` with one row per clip and 0 or 1 in each further column;
    - `clip,attribute` with one row per pair, and an empty attribute for a clip that has none.

    Raises:
        DataError: No such file, or a header, a value or a clip that does not fit.
    """
    header, lines = _read(path)
    if len(header) < 2 or header[0] != "clip":
        raise DataError(
            f"{path}: got the header {','.join(header)!r}, wanted 'clip,attribute' or "
            "'clip,NAME,NAME,...' with 0 and 1 below"
        )
    found: dict[str, tuple[str, ...]] = {}
    for number, (clip, *cells) in lines:
        if header[1:] == ["attribute"]:
            found[clip] = (*found.get(clip, ()), *filter(None, cells))
            continue
        strange = [cell for cell in cells if cell not in ("0", "1")]
        if strange:
            raise DataError(f"{path} row {number}: got {strange[0]!r}, wanted 0 or 1")
        if clip in found:
            raise DataError(f"{path} row {number}: {clip} has a row already")
        names = zip(header[1:], cells, strict=True)
        found[clip] = tuple(name for name, flag in names if flag == "1")
    return found


def read_runs(path: Path) -> Runs:
    """Read runs of frames from a file with `RUN_COLUMNS`, such as runs.csv of `quality=true`.

    Raises:
        DataError: No such file, or columns that are missing.
    """
    header, lines = _read(path)
    absent = [name for name in RUN_COLUMNS if name not in header]
    if absent:
        raise DataError(
            f"{path} has no column {absent[0]}; wanted the columns {', '.join(RUN_COLUMNS)}"
        )
    runs: dict[str, list[tuple[str, str, str]]] = {}
    for _, line in lines:
        clip, first, last, why = (line[header.index(name)] for name in RUN_COLUMNS)
        runs.setdefault(clip, []).append((first, last, why))
    return runs


def write_runs(path: Path, runs: Runs) -> None:
    """Write runs so that `read_runs` gives them back."""
    rows = [(clip, *run) for clip, own in runs.items() for run in own]
    write_rows(path, RUN_COLUMNS, (dict(zip(RUN_COLUMNS, row, strict=True)) for row in rows))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file atomically; None is an empty cell."""
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header of a table, and its rows with their numbers; empty lines do not count.

    Raises:
        DataError: No such file, not text in UTF-8, or a row that is not as long as the header.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [
                (number, [cell.strip() for cell in line])
                for number, line in enumerate(csv.reader(file), start=1)
                if any(line)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file in UTF-8: {error}") from error
    header = lines[0][1] if lines else []
    for number, line in lines:
        if len(line) != len(header):
            raise DataError(
                f"{path} row {number}: got {len(line)} cells, wanted {len(header)}, "
                f"{','.join(header)}"
            )
    return header, lines[1:]
