"""One table, written as Markdown, LaTeX or HTML."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sali.metrics.scores import NONE, ScoreInfo, score_info


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1) of a score over runs; None for a single one."""

    mean: float
    std: float | None


Value = float | Spread | None


class Cell(NamedTuple):
    """Text that is shown, with the value that rows are sorted by (None last), and a link."""

    text: str
    is_number: bool = False
    is_best: bool = False
    value: float | str | None = None
    link: str = ""


class Row(NamedTuple):
    """Scores by name after labels; rows of a group, say a subset, are compared with each other."""

    group: str
    labels: tuple[str, ...]
    scores: Mapping[str, Value]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header.

    Attributes:
        title: What the table shows.
        header: Names of the columns.
        rows: Cells of each row; the first is the name of the row.
        notes: What a reader must know, one sentence each.
        groups: Group of each row, for rules between them; empty for none.
        meanings: What columns mean, by their names.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    groups: Sequence[str] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)

    def to_markdown(self) -> str:
        """Return a pipe table; best values are bold."""
        aligned = ["---:" if is_number else "---" for _, is_number in self.columns()]
        lines = [[_bold(cell, "**{}**", _piped) for cell in row] for row in self.rows]
        every = [[_piped(name) for name in self.header], aligned, *lines]
        return "".join(f"| {' | '.join(line)} |\n" for line in every)

    def to_latex(self, caption: str = "") -> str:
        """Return a table environment that needs no package; best values are bold."""
        lines: list[str] = []
        groups = self.groups or [""] * len(self.rows)
        for number, row in enumerate(self.rows):
            if number and groups[number] != groups[number - 1]:
                lines.append(r"\hline")
            lines.append(" & ".join(_bold(c, r"\textbf{{{}}}", latex_text) for c in row) + r" \\")
        columns = "".join("r" if is_number else "l" for _, is_number in self.columns())
        head = [
            *(r"\begin{table}", r"\centering"),
            rf"\caption{{{latex_text(caption or self.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            *(r"\hline", " & ".join(map(latex_text, self.header)) + r" \\", r"\hline"),
        ]
        tail = [r"\hline", r"\end{tabular}", r"\end{table}", ""]
        return "\n".join([*head, *lines, *tail])

    def to_html(self, name: str = "") -> Markup:
        """Return a table in a box that scrolls, with its notes below.

        A table with a name, which is its id, can be sorted.
        """
        return templates().get_template("parts.html").module.table(self, name)  # type: ignore[attr-defined]

    def columns(self) -> list[tuple[str, bool]]:
        """Return the names of the columns, and whether each holds numbers."""
        return [
            (name, bool(self.rows) and all(row[i].is_number for row in self.rows))
            for i, name in enumerate(self.header)
        ]


@cache
def templates() -> Environment:
    """Return the templates of this package, which escape everything that is put into them."""
    return Environment(
        loader=PackageLoader("sali.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def score_table(
    title: str,
    labels: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    notes: Sequence[str] = (),
    info: Callable[[str], ScoreInfo] = score_info,
) -> Table:
    """Return a table of scores in which the best of each group and column is marked.

    `labels` are the names of the columns before the scores, `columns` the scores that are shown;
    `info` looks up direction and format by name.
    """
    infos = {name: info(name) for name in columns}
    best = {
        (group, name): infos[name].best(_mean(r.scores.get(name)) for r in rows if r.group == group)
        for group in {row.group for row in rows}
        for name in columns
    }
    lines = []
    for row in rows:
        cells = [Cell(text, text.isdecimal(), value=text) for text in row.labels]
        for name in columns:
            mean = _mean(row.scores.get(name))
            is_best = mean is not None and mean == best[row.group, name]
            text = value_text(row.scores.get(name), infos[name])
            cells.append(Cell(text, True, is_best, mean))
        lines.append(cells)
    groups = [row.group for row in rows]
    meanings = {name: one.meaning for name, one in infos.items()}
    return Table(title, [*labels, *columns], lines, notes, groups, meanings)


def value_text(value: Value, info: ScoreInfo, factor: float = 1) -> str:
    """Return a value as it is shown, `mean ± std` for a spread of several runs."""
    mean = _mean(value)
    text = info.text(None if mean is None else factor * mean)
    if isinstance(value, Spread) and value.std is not None:
        text += f" ± {info.text(factor * value.std)}"
    return text


def latex_text(text: str) -> str:
    """Return text with LaTeX's special characters escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: "\\" + sign for sign in "&%$#_{}"} | {"±": r"$\pm$"}
    return "".join(special.get(sign, sign) for sign in text)


def _mean(value: Value) -> float | None:
    return value.mean if isinstance(value, Spread) else value


def _piped(text: str) -> str:
    return text.replace("|", "/")


def _bold(cell: Cell, form: str, escaped: Callable[[str], str]) -> str:
    text = escaped(cell.text)
    return form.format(text) if cell.is_best and cell.text != NONE else text
