"""The results of a benchmark as JSON, Markdown tables and plots."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axis import Axis
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from benchmarks.timing import Table as Rows
from sali.report import style
from sali.report.table import Cell, Table
from sali.run.io import write_json

_BAR_INCHES = 0.2
_GAP = 0.6  # between tables, in bars
_AXIS_INCHES = 0.9
_LINEAR_UP_TO = 30  # longest over shortest bar; bars from zero show ratios, while all can be seen

Results = Mapping[str, Any]
"""{"run", "machine", "setup", "tables": {group: {name: {row: {column: number}}}}, "curves": {name:
`benchmarks.growth.Curve`}}."""


def write_report(results: Results, output: Path) -> None:
    """Write benchmark.json, benchmark.md and one plot for each group of times and each curve."""
    write_json(output / "benchmark.json", results)
    (output / "benchmark.md").write_text(markdown(results))
    for group, tables in results["tables"].items():
        times = {name: rows for name, rows in tables.items() if "q1 ms" in _columns(rows)}
        if times:
            plot_times(times, output / f"times_{group}", group)
    for name, curve in results["curves"].items():
        plot_curve(curve, output / f"growth_{name.replace(' ', '_')}", name)


def markdown(results: Results) -> str:
    """Return all tables, under lines that name machine and setup."""
    machine, setup = results["machine"], results["setup"]
    model = setup["model"]
    bank = model["bank"]
    text = (
        f"# Benchmark\n\nMachine: {machine['cpu']} ({machine['cores']} cores, "
        f"{machine['cpu_capability']}), device {machine['device']}, {machine['threads']} threads, "
        f"torch {machine['torch']}.\n{model['backbone']['name']} at {setup['image_size']} px, "
        f"alignment kernel {model['short_term']['kernel']}, a memory of {bank['max_frames']} "
        f"frames that stores every {bank['every']}, frames of {setup['frame_width']} x "
        f"{setup['frame_height']} pixels.\n"
    )
    for group, tables in results["tables"].items():
        text += f"\n## {group}\n"
        for name, rows in tables.items():
            text += "\n" + _table(name, rows)
    if results["curves"]:
        text += "\n## growth\n"
    for name, curve in results["curves"].items():
        rows = {"exponent of ms = a x^b": {n: s["exponent"] for n, s in curve["series"].items()}}
        for i, x in enumerate(curve["x"]):
            rows[str(x)] = {n: s["ms"][i] for n, s in curve["series"].items()}
        text += "\n" + _table(f"{name}: ms over {curve['unit']}", rows)
    return text


def _columns(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows.values() for column in row))


def _table(name: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    columns = _columns(rows)
    cells = [[Cell(row), *[_number(own[c]) for c in columns]] for row, own in rows.items()]
    return Table(name, [name, *columns], cells).to_markdown()


def _number(value: float | None) -> Cell:
    return Cell("" if value is None else f"{value:.5g}", is_number=True)


def plot_times(tables: Mapping[str, Rows], stem: Path, title: str) -> None:
    """Write median times as bars with their quartiles, the tables under one another."""
    ways = list(dict.fromkeys(way for rows in tables.values() for way in rows))
    num_rows = sum(len(rows) + _GAP for rows in tables.values())
    height = num_rows * _BAR_INCHES + _AXIS_INCHES + style.legend_inches(-(-len(ways) // 3))
    figure = style.new_figure(1.3 * style.WIDTH, height)
    axes = figure.add_subplot()
    colours = {way: style.series_style(index).colour for index, way in enumerate(ways)}
    top, ticks, medians = 0.0, [], []
    for rows in tables.values():
        ticks.append(top + (len(rows) - 1) / 2)
        for down, (way, row) in enumerate(rows.items()):
            median = row["median ms"]
            spread = [[median - row["q1 ms"]], [row["q3 ms"] - median]]
            axes.barh(top + down, median, 0.85, color=colours[way], xerr=spread, ecolor=style.GREY)
            medians.append(median)
        top += len(rows) + _GAP
    style.style_axes(axes, title, "milliseconds", grid="x")
    if max(medians) > _LINEAR_UP_TO * min(medians):
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis, *axes.get_xlim())
    axes.set_yticks(ticks, list(tables), fontsize=style.SMALL)
    axes.invert_yaxis()
    style.legend_below(figure, [Patch(color=colours[way]) for way in ways], ways, columns=3)
    style.save(figure, stem)


def plot_curve(curve: Mapping[str, Any], stem: Path, title: str) -> None:
    """Write times over what grows, both logarithmic: a power law is a straight line."""
    series = curve["series"]
    figure = style.new_figure(style.WIDTH, 3.2 + style.legend_inches(len(series)))
    axes = figure.add_subplot()
    lines, labels = [], []
    for index, (name, own) in enumerate(series.items()):
        colour, line, marker = style.series_style(index)
        lines += axes.plot(curve["x"], own["ms"], color=colour, linestyle=line, marker=marker)
        b = own["exponent"]
        labels.append(name if b is None else f"{name}: time ~ x^{b:.2f}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 10 * low:  # a flat line shall look flat
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 10**0.5, middle * 10**0.5)
    style.style_axes(axes, title, curve["unit"], "milliseconds")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    _plain_numbers(axes.yaxis, *axes.get_ylim())
    axes.set_xticks(curve["x"], minor=False)
    axes.set_xticks([], minor=True)
    style.legend_below(figure, lines, labels)
    style.save(figure, stem)


def _plain_numbers(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis in plain numbers; between the decades only if few fit."""
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(LogLocator(subs="all" if high < 10 * low else (2, 5)))
    axis.set_minor_formatter(ScalarFormatter() if high < 100 * low else NullFormatter())
