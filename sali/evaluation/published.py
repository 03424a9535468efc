"""Published results on SUN-SEG, and ours beside them, never mixing variants of Dice."""

import csv
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from sali.evaluation.ground_truth import TEST_SUBSETS
from sali.evaluation.results import Figures
from sali.evaluation.tables import NONE, markdown_lines

VARIANTS = {
    "dice_max": "the highest value of the subset's mean Dice curve: one threshold per subset, "
    "chosen on the test set",
    "dice_mean": "the mean of the subset's mean Dice curve over 256 thresholds",
    "dice_at_0.5": "Dice of the raw probability at 0.5, frames without a polyp left out",
}
_CLIPS = {"seen_easy": 33, "seen_hard": 17, "unseen_easy": 86, "unseen_hard": 37}
# Published papers call Easy-Seen what is seen_easy here.
_COLUMNS = {name: "_".join(reversed(name.split("_"))) for name in TEST_SUBSETS}


class PublishedRow(NamedTuple):
    """One method in one publication.

    Attributes:
        method: its name.
        venue: where it was published.
        backbone: encoder.
        dice_variant: which Dice the numbers are, a key of `VARIANTS`.
        percent: by our subset names; None where nothing was published.
        source: where the numbers were taken from.
    """

    method: str
    venue: str
    backbone: str
    dice_variant: str
    percent: dict[str, float | None]
    source: str


def published_rows() -> list[PublishedRow]:
    """Reads the table that comes with the package."""
    text = (files("sali.evaluation") / "published_results.csv").read_text(encoding="utf-8")
    rows = []
    for line in csv.DictReader(text.splitlines()):
        percent = {
            name: float(line[column]) if line[column] else None for name, column in _COLUMNS.items()
        }
        told = (line["method"], line["venue"], line["backbone"], line["dice_variant"])
        rows.append(PublishedRow(*told, percent, line["source"]))
    return rows


def other_data(num_clips: dict[str, int]) -> list[str]:
    """Says which subsets cannot be those of SUN-SEG, by their number of clips."""
    return [
        f"{subset} has {num_clips[subset]} clips here and {number} in SUN-SEG: it is other data, "
        "and its values must not be compared with published ones"
        for subset, number in _CLIPS.items()
        if num_clips.get(subset, number) != number
    ]


def comparison(methods: dict[str, dict[str, Figures]], notes: Sequence[str]) -> str:
    """A Markdown table per variant of Dice: published rows, then ours.

    Args:
        methods: figures by method and subset.
        notes: what a reader must know of our rows, say that maps were missing.
    """
    published = published_rows()
    lines = [
        "# Beside published results\n",
        "Dice on the subsets of SUN-SEG, in percent, one table per variant of Dice: values of "
        "different variants must not be compared. Published rows are quoted from the source "
        "named in them; ours are in bold.\n",
        *(f"Note: {note}\n" for note in notes),
    ]
    for variant, meaning in VARIANTS.items():
        table = [_cells(row) for row in published if row.dice_variant == variant]
        table += [
            _ours(name, variant, subsets)
            for name, subsets in methods.items()
            if any(variant in figures for figures in subsets.values())
        ]
        if table:
            header = ["method", "venue", "backbone", "Dice variant", *TEST_SUBSETS, "source"]
            dashes = ["---"] * 4 + ["---:"] * len(TEST_SUBSETS) + ["---"]
            lines += [f"## {variant}\n", f"{meaning[0].upper()}{meaning[1:]}.\n"]
            lines.append(markdown_lines([header, dashes, *table]))
    return "\n".join(lines)


def _cells(row: PublishedRow) -> list[str]:
    numbers = [_percent(row.percent[name]) for name in TEST_SUBSETS]
    return [row.method, row.venue, row.backbone, row.dice_variant, *numbers, row.source]


def _ours(name: str, variant: str, subsets: dict[str, Figures]) -> list[str]:
    values = [subsets.get(subset, {}).get(variant) for subset in TEST_SUBSETS]
    numbers = [_percent(None if value is None else 100 * value) for value in values]
    marked = [text if text == NONE else f"**{text}**" for text in numbers]
    return [f"**{name}**", NONE, NONE, variant, *marked, "this evaluation"]


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"
