"""Published results on SUN-SEG and ours, one table per variant of Dice, never mixed."""

import csv
from collections.abc import Mapping
from importlib.resources import files

from sali.data.index import TEST_SUBSETS
from sali.metrics.scores import NONE, ScoreInfo
from sali.report.table import Cell, Table, Value, value_text

VARIANTS = {
    "dice_max": "the highest value of the subset's mean Dice curve: one threshold per subset, "
    "chosen on the test set",
    "dice_mean": "the mean of the subset's mean Dice curve over 256 thresholds",
    "dice_at_0.5": "Dice of the raw probability at 0.5, frames without a polyp left out",
}
WARNING = (
    "Published values are of SUN-SEG. The number of clips fits; that the data is SUN-SEG is for "
    "the reader to make sure. Values of different variants of Dice must not be compared."
)
_CLIPS = {"seen_easy": 33, "seen_hard": 17, "unseen_easy": 86, "unseen_hard": 37}
_PERCENT = ScoreInfo("higher", ".1f")
_LABELS = ("method", "venue", "backbone", "dice_variant")


def published_rows() -> list[dict[str, str]]:
    """Read the table that comes with the package: percent by subset, empty if not published."""
    text = (files("sali.report") / "published_results.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def other_data(num_clips: Mapping[str, int]) -> list[str]:
    """Say which subsets cannot be those of SUN-SEG, by their number of clips."""
    return [
        f"{subset} has {num_clips[subset]} clips here and {number} in SUN-SEG: it is other data, "
        "and its values must not be compared with published ones"
        for subset, number in _CLIPS.items()
        if num_clips.get(subset, number) != number
    ]


def beside_published(
    ours: Mapping[str, Mapping[str, Mapping[str, Value]]], num_clips: Mapping[str, int]
) -> tuple[list[Table], list[str]]:
    """Return a table per variant of Dice, in percent, and what a reader must know.

    Args:
        ours: Scores by the name of a method or setting, and by subset.
        num_clips: Number of clips of each subset, which tells SUN-SEG from other data.

    Returns:
        Tables and notes; neither where no subset is one of SUN-SEG's. Notes alone say why there
        are no tables.
    """
    if not set(num_clips) & set(TEST_SUBSETS):
        return [], []
    if others := other_data(num_clips):
        return [], ["No published rows, as this is other data than SUN-SEG.", *others]
    tables = []
    for variant, meaning in VARIANTS.items():
        rows = []
        for name, subsets in ours.items():
            values = {s: own[variant] for s, own in subsets.items() if variant in own}
            numbers = [value_text(values.get(s), _PERCENT, 100) for s in TEST_SUBSETS]
            cells = [Cell(text, True, text != NONE) for text in numbers]
            labels = [Cell(f"{name} (here)", is_best=True), Cell(NONE), Cell(NONE), Cell(variant)]
            if values:
                rows.append([*labels, *cells, Cell("this folder")])
        if rows:
            for row in published_rows():
                if row["dice_variant"] == variant:
                    cells = [Cell(row[subset] or NONE, True) for subset in TEST_SUBSETS]
                    rows.append([*(Cell(row[k]) for k in _LABELS), *cells, Cell(row["source"])])
            header = ["method", "venue", "backbone", "Dice variant", *TEST_SUBSETS, "source"]
            title = f"{variant}, percent: ours (bold) and published values"
            tables.append(Table(title, header, rows, [f"{variant} is {meaning}."]))
    return tables, [WARNING]


def published_sali(variant: str) -> dict[str, tuple[str, float]]:
    """Return the published SALI by subset, (label, share): the last row of its own paper."""
    own = [r for r in published_rows() if (r["method"], r["dice_variant"]) == ("SALI", variant)]
    return {
        subset: (f"{row['method']} {row['backbone']}, {row['venue']}", float(row[subset]) / 100)
        for row in own[-1:]
        for subset in TEST_SUBSETS
        if row[subset]
    }
