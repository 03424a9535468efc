"""The results of a benchmark as JSON, Markdown tables and plots."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.plots import plot_curve, plot_times
from sali.report.table import Cell, Table
from sali.run.io import write_json

Results = Mapping[str, Any]
"""{"run", "machine", "setup", "tables": {group: {name: {row: {column: number}}}}, "curves": {name:
`benchmarks.growth.Curve`}}."""


def write_report(results: Results, output: Path) -> None:
    """Write benchmark.json, benchmark.md and one plot for each group of times and each curve."""
    write_json(output / "benchmark.json", results)
    (output / "benchmark.md").write_text(markdown(results))
    for group, tables in results["tables"].items():
        times = {name: rows for name, rows in tables.items() if "median ms" in _columns(rows)}
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
