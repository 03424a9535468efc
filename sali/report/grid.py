"""Tables of a page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sali.evaluation.tables import Table


class Cell(NamedTuple):
    """One cell.

    Attributes:
        text: shown.
        is_number: numbers stand on the right.
        is_best: of its group.
        value: what rows are sorted by; None goes last.
        link: where the text leads.
    """

    text: str
    is_number: bool = False
    is_best: bool = False
    value: float | str | None = None
    link: str = ""


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        caption: above it.
        header: names of the columns.
        rows: cells; the first is the name of the row.
        notes: said below.
    """

    caption: str
    header: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def grid_of(table: Table, caption: str, notes: Sequence[str] = ()) -> Grid:
    """A table of figures, as the Markdown files have it."""
    num_labels = len(table.labels)
    rows = []
    for cells in table.cells():
        is_number = [i >= num_labels or text.isdecimal() for i, (text, _) in enumerate(cells)]
        rows.append([Cell(t, n, b) for (t, b), n in zip(cells, is_number, strict=True)])
    return Grid(caption, [*table.labels, *table.columns], rows, list(notes))
