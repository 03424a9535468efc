"""Tables of figures as Markdown and LaTeX, the best of each group marked."""

from collections.abc import Sequence
from dataclasses import dataclass

from sali.evaluation.results import Figures

LOWER_IS_BETTER = {
    "mae",
    "ece",
    "brier",
    "false_positive_frames_per_minute",
    "false_alarms",
    "false_alarm_seconds_mean",
    "false_alarm_seconds_max",
    "first_detection_seconds_mean",
    "first_detection_seconds_median",
}
# Properties of the data and not of a method.
NEITHER_IS_BETTER = {"polyps", "stability_of_truth"}
COUNTED = {"polyps", "polyps_detected", "false_alarms"}
NONE = "-"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        group: rows of a group are compared with each other; say, a subset.
        labels: what stands before the figures.
        figures: by name; None where there is no such case.
    """

    group: str
    labels: tuple[str, ...]
    figures: Figures


@dataclass(frozen=True)
class Table:
    """Rows under the names of their figures.

    Attributes:
        labels: names of the label columns.
        columns: names of the figures shown.
        rows: in order.
    """

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def best(self, group: str, column: str) -> float | None:
        """The best value of a group; None where there is nothing to choose."""
        values = [row.figures.get(column) for row in self.rows if row.group == group]
        there = [value for value in values if value is not None]
        if len(values) < 2 or not there or column in NEITHER_IS_BETTER:
            return None
        return min(there) if column in LOWER_IS_BETTER else max(there)

    def cells(self) -> list[list[tuple[str, bool]]]:
        """Text of each cell, and whether it is a best value."""
        best = {
            (group, column): self.best(group, column)
            for group in {row.group for row in self.rows}
            for column in self.columns
        }
        lines = []
        for row in self.rows:
            line = [(label, False) for label in row.labels]
            for column in self.columns:
                value = row.figures.get(column)
                is_best = value is not None and value == best[row.group, column]
                line.append((number_text(value, column), is_best))
            lines.append(line)
        return lines


def number_text(value: float | None, column: str) -> str:
    """Four decimals; counts as whole numbers."""
    if value is None:
        return NONE
    return f"{value:.0f}" if column in COUNTED else f"{value:.4f}"


def to_markdown(table: Table) -> str:
    """A pipe table; best values are bold."""
    header = [*table.labels, *table.columns]
    aligned = ["---"] * len(table.labels) + ["---:"] * len(table.columns)
    lines = [[_marked(text, best, "**{}**") for text, best in line] for line in table.cells()]
    return markdown_lines([header, aligned, *lines])


def markdown_lines(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines of a pipe table."""
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def to_latex(table: Table, caption: str) -> str:
    """A table environment that needs no package; best values are bold."""
    lines = [
        [_marked(latex_text(text), best, r"\textbf{{{}}}") for text, best in cells]
        for cells in table.cells()
    ]
    header = [latex_text(name) for name in (*table.labels, *table.columns)]
    groups = [row.group for row in table.rows]
    return latex_lines(header, lines, groups, len(table.labels), latex_text(caption))


def latex_lines(
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    groups: Sequence[str],
    num_labels: int,
    caption: str,
) -> str:
    """Cells of LaTeX as a table environment that needs no package.

    Args:
        header: of the columns.
        lines: cells, one row each.
        groups: one per row; there is a rule between two.
        num_labels: so many columns are flush left, the others flush right.
        caption: of the table.
    """
    rows = []
    previous = None
    for group, cells in zip(groups, lines, strict=True):
        if previous not in (None, group):
            rows.append(r"\hline")
        previous = group
        rows.append(" & ".join(cells) + r" \\")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{{'l' * num_labels}{'r' * (len(header) - num_labels)}}}",
            r"\hline",
            " & ".join(header) + r" \\",
            r"\hline",
            *rows,
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _marked(text: str, is_best: bool, form: str) -> str:
    return form.format(text) if is_best else text


def latex_text(text: str) -> str:
    """Text for LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: "\\" + sign for sign in "&%$#_{}"}
    return "".join(special.get(sign, sign) for sign in text)
