"""Charts as shapes in a box of fixed size; the templates make SVG of them.

Colours come from the page, so that they follow its light or dark look; series are told apart by
dashes as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 12, 46
DASHES = ("", "7 4", "9 3 2 3", "2 3")
NUM_COLOURS = 7
_TABLE_ROWS = 21
_ROW_HEIGHT = 36


class Series(NamedTuple):
    """One line.

    Attributes:
        label: what it is.
        x: [K].
        y: [K]; NaN is a gap.
        marks: (x, y, what it is) of single points.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    marks: tuple[tuple[float, float, str], ...] = ()


class Interval(NamedTuple):
    """One row of an interval chart: a dot, and a bar where low and high are not None."""

    label: str
    value: float
    low: float | None
    high: float | None


class Tick(NamedTuple):
    """A number on an axis, and where in the box."""

    at: float
    text: str


class Mark(NamedTuple):
    """A point of a line."""

    x: float
    y: float
    text: str


class Line(NamedTuple):
    """A line as an SVG path."""

    label: str
    path: str
    colour: int
    dash: str
    marks: list[Mark]


@dataclass
class Chart:
    """What a template draws.

    Attributes:
        title: above it.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        summary: one sentence for those who do not see it.
        header: of its values as a table.
        rows: of the same.
        x_ticks: of the horizontal axis.
        y_ticks: of the vertical one, or the labels of rows.
        lines: of a line chart.
        intervals: of an interval chart, (y, x, x of low, x of high).
        guide: path of a line to compare with, and what it is.
        height: of the box.
        left: where the axes begin.
        notes: said below.
    """

    title: str
    x_label: str
    y_label: str
    summary: str
    header: list[str]
    rows: list[list[str]]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line] = field(default_factory=list)
    intervals: list[tuple[float, float, float | None, float | None]] = field(default_factory=list)
    guide: tuple[str, str] | None = None
    height: int = HEIGHT
    left: int = LEFT
    notes: list[str] = field(default_factory=list)

    width = WIDTH
    right, top, bottom = RIGHT, TOP, BOTTOM


def ticks(low: float, high: float, number: int = 6) -> list[float]:
    """At most `number` round numbers from low to high."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, number - 1)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def number(value: float) -> str:
    """A number for an axis or a table: short."""
    if 0 < abs(value) < 1e-3:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.4g}"


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Where an axis begins and ends: at its data, with a little air, never without extent."""
    low, high = min(values), max(values)
    air = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - air, high + air


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    unit: str = "",
    guide: str = "",
    notes: Sequence[str] = (),
    table: tuple[list[str], list[list[str]]] | None = None,
) -> Chart:
    """Lines over a common axis.

    Args:
        title: above it.
        series: at least one, with at least one finite value.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        unit: "y": the vertical axis runs from 0 to 1; "xy": both do.
        guide: what the diagonal means; empty for none.
        notes: said below.
        table: header and rows of the values; None takes them from the lines.
    """
    every_x = [x for one in series for x in one.x]
    every_y = _finite([y for one in series for y in one.y])
    x0, x1 = (0.0, 1.0) if "x" in unit else (min(every_x), max(every_x))
    if x1 == x0:
        x0, x1 = x0 - 0.5, x1 + 0.5
    y0, y1 = (0.0, 1.0) if "y" in unit else _limits(every_y)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        down = TOP + (y1 - y) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return round(across, 1), round(down, 1)

    lines = []
    for index, one in enumerate(series):
        path, is_open = "", False
        for x, y in zip(one.x, one.y, strict=True):
            if not math.isfinite(y):
                is_open = False
                continue
            across, down = place(x, y)
            path += f"{'L' if is_open else 'M'}{across} {down}"
            is_open = True
        marks = [Mark(*place(x, y), text) for x, y, text in one.marks]
        if len(_finite(one.y)) == 1 and not marks:  # a line of one point is not seen
            x, y = next((x, y) for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y))
            marks = [Mark(*place(x, y), "")]
        lines.append(Line(one.label, path, index % NUM_COLOURS, DASHES[index % len(DASHES)], marks))
    diagonal = "M{} {}L{} {}".format(*place(0, 0), *place(1, 1)) if guide else ""
    told = "; ".join(_told(one) for one in series)
    return Chart(
        title,
        x_label,
        y_label,
        f"{title}: {y_label} over {x_label}. {told}",
        *(table or ([x_label, *(one.label for one in series)], _rows(series))),
        [Tick(place(x, y0)[0], number(x)) for x in ticks(x0, x1)],
        [Tick(place(x0, y)[1], number(y)) for y in ticks(y0, y1)],
        lines,
        guide=(diagonal, guide) if guide else None,
        notes=list(notes),
    )


def interval_chart(title: str, rows: Sequence[Interval], x_label: str, zero: str = "") -> Chart:
    """Rows below each other, a dot each, with its interval.

    Args:
        title: above it.
        rows: at least one.
        x_label: of the values.
        zero: what a line at 0 means; empty for none.
    """
    values = [v for row in rows for v in (row.value, row.low, row.high) if v is not None]
    x0, x1 = _limits([*values, *([0.0] if zero else [])])
    left = 16
    height = TOP + BOTTOM + _ROW_HEIGHT * len(rows)

    def across(x: float) -> float:
        return round(left + (x - x0) / (x1 - x0) * (WIDTH - left - RIGHT), 1)

    def maybe(x: float | None) -> float | None:
        return None if x is None else across(x)

    downs = [TOP + _ROW_HEIGHT * (index + 0.68) for index in range(len(rows))]
    cells = [
        [row.label, number(row.value), *("-" if v is None else number(v) for v in row[2:])]
        for row in rows
    ]
    told = "; ".join(f"{row.label}: {number(row.value)}" for row in rows)
    line = f"M{across(0)} {TOP}V{height - BOTTOM}"
    return Chart(
        title,
        x_label,
        "",
        f"{title}: {x_label}. {told}",
        ["", x_label, "low", "high"],
        cells,
        [Tick(across(x), number(x)) for x in ticks(x0, x1)],
        [Tick(down, row.label) for down, row in zip(downs, rows, strict=True)],
        intervals=[
            (down, across(row.value), maybe(row.low), maybe(row.high))
            for down, row in zip(downs, rows, strict=True)
        ],
        guide=(line, zero) if zero else None,
        height=height,
        left=left,
    )


def _told(one: Series) -> str:
    values = _finite(one.y)
    return (
        f"{one.label}: from {number(values[0])} to {number(values[-1])}, "
        f"lowest {number(min(values))}, highest {number(max(values))}"
        if values
        else f"{one.label}: no values"
    )


def _rows(series: Sequence[Series]) -> list[list[str]]:
    """Values at up to `_TABLE_ROWS` places, where all series have the same ones; else of each."""
    places = sorted({x for one in series for x in one.x})
    every = -(-len(places) // _TABLE_ROWS)
    kept = sorted({*places[::every], places[-1]})
    by_place = [dict(zip(one.x, one.y, strict=True)) for one in series]
    return [[number(x), *(_cell(values.get(x)) for values in by_place)] for x in kept]


def _cell(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else number(value)
