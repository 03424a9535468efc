"""Figures of a benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from sali.report.style import (
    GREY,
    SMALL,
    WIDTH,
    legend_below,
    legend_inches,
    new_figure,
    save,
    series_style,
    style_axes,
)

_BAR_INCHES = 0.2
_GAP = 0.6  # between tables, in bars
_AXIS_INCHES = 0.9
_LINEAR_UP_TO = 30  # longest over shortest bar; bars from zero show ratios, while all can be seen


def plot_timings(tables: Mapping[str, Mapping[str, Any]], stem: Path, title: str = "") -> Figure:
    """Median times as bars with their quartiles, the tables under one another.

    Args:
        tables: {table: rows of ``summarize``}.
        stem: path of the files without ending.
        title: set above.
    """
    ways = list(dict.fromkeys(way for rows in tables.values() for way in rows))
    num_bars = sum(len(rows) for rows in tables.values())
    num_rows = num_bars + _GAP * len(tables)
    height = num_rows * _BAR_INCHES + _AXIS_INCHES + legend_inches(-(-len(ways) // 3))
    figure = new_figure(1.3 * WIDTH, height)
    axes = figure.add_subplot()
    colours = {way: series_style(index).colour for index, way in enumerate(ways)}
    position, ticks = 0.0, []
    for rows in tables.values():
        ticks.append(position + (len(rows) - 1) / 2)
        for way, row in rows.items():
            median = row["median_ms"]
            spread = [[median - row["q1_ms"]], [row["q3_ms"] - median]]
            axes.barh(
                position,
                median,
                height=0.85,
                color=colours[way],
                xerr=spread,
                ecolor=GREY,
            )
            position += 1
        position += _GAP
    medians = [row["median_ms"] for rows in tables.values() for row in rows.values()]
    style_axes(axes, title, "milliseconds", grid="x")
    if max(medians) > _LINEAR_UP_TO * min(medians):
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis, *axes.get_xlim())
    axes.set_yticks(ticks, list(tables), fontsize=SMALL)
    axes.invert_yaxis()
    legend_below(figure, [Patch(color=colours[way]) for way in ways], ways, columns=3)
    save(figure, stem)
    return figure


def _plain_numbers(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis as plain numbers; those between the decades only if few fit."""
    axis.set_major_formatter(ScalarFormatter())
    few = high < 10 * low
    axis.set_minor_locator(LogLocator(subs=(2, 5) if not few else "all"))
    axis.set_minor_formatter(ScalarFormatter() if high < 100 * low else NullFormatter())


def plot_curve(curve: Mapping[str, Any], stem: Path, title: str = "") -> Figure:
    """Times over what grows, both logarithmic: a power law is a straight line.

    Args:
        curve: see ``sali.benchmarks.growth.Curve``.
        stem: path of the files without ending.
        title: set above.
    """
    series = curve["series"]
    figure = new_figure(WIDTH, 3.2 + legend_inches(len(series)))
    axes = figure.add_subplot()
    handles, labels = [], []
    for index, (name, own) in enumerate(series.items()):
        style = series_style(index)
        (line,) = axes.plot(
            curve["x"], own["ms"], color=style.colour, linestyle=style.line, marker=style.marker
        )
        handles.append(line)
        b = own["exponent"]
        labels.append(name if b is None else f"{name}: time ~ x^{b:.2f}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 10 * low:  # a flat line shall look flat
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 10**0.5, middle * 10**0.5)
    style_axes(axes, title, curve["unit"], "milliseconds")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    _plain_numbers(axes.yaxis, *axes.get_ylim())
    axes.set_xticks(curve["x"], minor=False)
    axes.set_xticks([], minor=True)
    legend_below(figure, handles, labels)
    save(figure, stem)
    return figure
