"""Published results on SUN-SEG and ours, one table per variant of Dice, never mixed."""

import csv
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple

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
# Published papers call Easy-Seen what is seen_easy here.
_COLUMNS = {name: "_".join(reversed(name.split("_"))) for name in TEST_SUBSETS}
_PERCENT = ScoreInfo("higher", ".1f")


class PublishedRow(NamedTuple):
    """One method in one publication.

    Attributes:
        method: Name of the method.
        venue: Place and year of the publication.
        backbone: Encoder.
        dice_variant: Which Dice the numbers are, a key of `VARIANTS`.
        percent: Values by our subset names; None where nothing was published.
        source: Where the numbers were taken from.
    """

    method: str
    venue: str
    backbone: str
    dice_variant: str
    percent: dict[str, float | None]
    source: str


def published_rows() -> list[PublishedRow]:
    """Read the table that comes with the package."""
    text = (files("sali.report") / "published_results.csv").read_text(encoding="utf-8")
    rows = []
    for line in csv.DictReader(text.splitlines()):
        percent = {
            name: float(line[column]) if line[column] else None for name, column in _COLUMNS.items()
        }
        labels = (line["method"], line["venue"], line["backbone"], line["dice_variant"])
        rows.append(PublishedRow(*labels, percent, line["source"]))
    return rows


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
    others = other_data(num_clips)
    if others:
        return [], ["No published rows, as this is other data than SUN-SEG.", *others]
    tables = []
    for variant, meaning in VARIANTS.items():
        rows = [
            _row((name, NONE, NONE, variant), values, 100, "this folder", is_ours=True)
            for name, subsets in ours.items()
            if any(values := {s: own[variant] for s, own in subsets.items() if variant in own})
        ]
        if rows:
            rows += [
                _row(published[:4], published.percent, 1, published.source)
                for published in published_rows()
                if published.dice_variant == variant
            ]
            header = ["method", "venue", "backbone", "Dice variant", *TEST_SUBSETS, "source"]
            title = f"{variant}, percent: ours (bold) and published values"
            tables.append(Table(title, header, rows, [f"{variant} is {meaning}."]))
    return tables, [WARNING]


def published_sali(variant: str) -> dict[str, tuple[str, float]]:
    """Return the published SALI by subset, (label, share): the last row of its own paper."""
    own = [r for r in published_rows() if r.method == "SALI" and r.dice_variant == variant]
    return {
        subset: (f"{row.method} {row.backbone}, {row.venue}", percent / 100)
        for row in own[-1:]
        for subset, percent in row.percent.items()
        if percent is not None
    }


def _row(
    labels: tuple[str, ...],
    values: Mapping[str, Value],
    factor: float,
    source: str,
    is_ours: bool = False,
) -> list[Cell]:
    name, *others = labels
    numbers = [value_text(values.get(subset), _PERCENT, factor) for subset in TEST_SUBSETS]
    return [
        Cell(f"{name} (here)" if is_ours else name, is_best=is_ours),
        *(Cell(text) for text in others),
        *(Cell(text, True, is_ours and text != NONE) for text in numbers),
        Cell(source),
    ]
