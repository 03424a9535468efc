"""Scores by visual attribute of the clips.

SUN-SEG's documentation lists attributes per clip (say SI, surgical instruments; SO, small
object; FM, fast motion). They are read from a CSV file of either form:

- `clip,SI,SO,...` with one row per clip and 0 or 1 in each further column;
- `clip,attribute` with one row per pair, and an empty attribute for a clip that has none.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sali.errors import DataError
from sali.evaluation.results import MethodResults, score_names

NONE_SET = "(none)"
"""Stands for the clips without any attribute."""


def read_attributes(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the attributes of each clip.

    Raises:
        DataError: No such file, or a header, a value or a clip that does not fit.
    """
    if not path.is_file():
        raise DataError(f"no attribute file {path}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [[cell.strip() for cell in line] for line in csv.reader(file) if any(line)]
    header = lines[0] if lines else []
    if len(header) < 2 or header[0] != "clip":
        raise DataError(
            f"{path}: got the header {','.join(header)!r}, wanted 'clip,attribute' or "
            "'clip,NAME,NAME,...' with 0 and 1 below"
        )
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise DataError(f"{path} row {number}: got {len(line)} cells, wanted {len(header)}")
        clip, *cells = line
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


def attribute_rows(
    methods: Sequence[MethodResults], attributes: dict[str, tuple[str, ...]]
) -> list[dict[str, Any]]:
    """Return the rows of attributes.csv: scores over the clips of each attribute, as of a subset.

    Args:
        methods: Results of each method.
        attributes: Attributes of each clip, all clips included.

    Raises:
        DataError: Clips without a row in the file.
    """
    rows: list[dict[str, Any]] = []
    names = sorted({name for own in attributes.values() for name in own})
    for method in methods:
        unknown = [clip.name for clip in method.clips if clip.name not in attributes]
        if unknown:
            raise DataError(
                f"the attribute file has no row for {len(unknown)} clips, e.g. {unknown[0]}; a "
                "clip without attributes needs a row too"
            )
        for subset in method.subsets:
            for name in [*names, NONE_SET]:
                clips = [
                    c for c in method.of(subset) if name in (attributes[c.name] or (NONE_SET,))
                ]
                if clips:
                    about = {"subset": subset, "attribute": name, "method": method.name}
                    scores = dict.fromkeys(score_names(method.settings)) | method.scores(clips)
                    rows.append({**about, "clips": len(clips), **scores})
    return sorted(rows, key=lambda row: (row["subset"], row["attribute"]))
