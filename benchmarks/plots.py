"""Plots of a benchmark, in the look of `sali.report`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axis import Axis
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from benchmarks.timing import Table
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


def plot_times(tables: Mapping[str, Table], stem: Path, title: str) -> None:
    """Write median times as bars with their quartiles, the tables under one another.

    Args:
        tables: {table: rows of `summarize`}.
        stem: Path of the files without ending.
        title: Text above the axes.
    """
    ways = list(dict.fromkeys(way for rows in tables.values() for way in rows))
    num_rows = sum(len(rows) + _GAP for rows in tables.values())
    height = num_rows * _BAR_INCHES + _AXIS_INCHES + legend_inches(-(-len(ways) // 3))
    figure = new_figure(1.3 * WIDTH, height)
    axes = figure.add_subplot()
    colours = {way: series_style(index).colour for index, way in enumerate(ways)}
    top, ticks, medians = 0.0, [], []
    for rows in tables.values():
        ticks.append(top + (len(rows) - 1) / 2)
        for down, (way, row) in enumerate(rows.items()):
            median = row["median ms"]
            spread = [[median - row["q1 ms"]], [row["q3 ms"] - median]]
            axes.barh(top + down, median, 0.85, color=colours[way], xerr=spread, ecolor=GREY)
            medians.append(median)
        top += len(rows) + _GAP
    style_axes(axes, title, "milliseconds", grid="x")
    if max(medians) > _LINEAR_UP_TO * min(medians):
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis, *axes.get_xlim())
    axes.set_yticks(ticks, list(tables), fontsize=SMALL)
    axes.invert_yaxis()
    legend_below(figure, [Patch(color=colours[way]) for way in ways], ways, columns=3)
    save(figure, stem)


def plot_curve(curve: Mapping[str, Any], stem: Path, title: str) -> None:
    """Write times over what grows, both logarithmic: a power law is a straight line.

    Args:
        curve: See `benchmarks.growth.Curve`.
        stem: Path of the files without ending.
        title: Text above the axes.
    """
    series = curve["series"]
    figure = new_figure(WIDTH, 3.2 + legend_inches(len(series)))
    axes = figure.add_subplot()
    lines, labels = [], []
    for index, (name, own) in enumerate(series.items()):
        colour, line, marker = series_style(index)
        lines += axes.plot(curve["x"], own["ms"], color=colour, linestyle=line, marker=marker)
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
    legend_below(figure, lines, labels)
    save(figure, stem)


def _plain_numbers(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis in plain numbers; between the decades only if few fit."""
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(LogLocator(subs="all" if high < 10 * low else (2, 5)))
    axis.set_minor_formatter(ScalarFormatter() if high < 100 * low else NullFormatter())
