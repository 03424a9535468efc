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
    rows = [
        [Cell(text, index >= num_labels, is_best) for index, (text, is_best) in enumerate(cells)]
        for cells in table.cells()
    ]
    return Grid(caption, [*table.labels, *table.columns], rows, list(notes))


def text_grid(caption: str, header: list[str], rows: Sequence[Sequence[str]]) -> Grid:
    """A table of plain text; what looks like a number stands on the right."""
    return Grid(caption, header, [[Cell(text, _is_number(text)) for text in row] for row in rows])


def _is_number(text: str) -> bool:
    try:
        float(text.split(" ")[0].strip("*"))
    except ValueError:
        return text == "-"
    return True
