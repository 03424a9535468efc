"""Frames per second of clips, where they differ: a table in the folder of the data."""

import csv
import math
from collections.abc import Collection
from pathlib import Path

from sali.errors import DataError

RATES_FILE = "fps.csv"
_HEADER = ["clip", "fps"]


def read_rates(folder: Path, clips: Collection[str]) -> dict[str, float]:
    """Read `fps.csv` of a folder of data, with the columns `clip,fps`.

    Args:
        folder: Data root, or folder of clips.
        clips: Names of all clips that it holds.

    Returns:
        Rate by clip, of those that have a row; nothing without such a file.

    Raises:
        DataError: Another header, a clip that is not there or has two rows, or a rate that is not
            a positive number.
    """
    path = folder / RATES_FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *lines = [
            (number, [cell.strip() for cell in line])
            for number, line in enumerate(csv.reader(file), start=1)
            if any(line)
        ] or [(1, [])]
    if header[1] != _HEADER:
        raise DataError(f"{path}: got the header {','.join(header[1])!r}, wanted 'clip,fps'")
    rates: dict[str, float] = {}
    for number, line in lines:
        if len(line) != len(_HEADER):
            raise DataError(f"{path} row {number}: got {len(line)} cells, wanted clip,fps")
        clip, rate = line[0], _number(line[1])
        if clip in rates:
            raise DataError(f"{path} row {number}: {clip} has a row already")
        if clip not in clips:
            raise DataError(f"{path} row {number}: there is no clip {clip} in {folder}")
        if not (math.isfinite(rate) and rate > 0):
            raise DataError(f"{path} row {number}: got {line[1]!r} fps for {clip}, wanted > 0")
        rates[clip] = rate
    return rates


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
