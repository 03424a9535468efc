"""The results of a benchmark as JSON, Markdown tables and figures."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sali.benchmarks.plots import plot_curve, plot_timings
from sali.run.io import write_json

Results = Mapping[str, Any]
"""{"run": ..., "machine": ..., "setup": ..., "groups": {group: what its function returned}}.

Of a group are shown: "timings" {table: rows of ``summarize``}, "tables" {table: {row: {column:
number}}}, "curves" {name: ``Curve``} and "checks" {name: {variant: number, list or mapping}}."""


def write_report(results: Results, output: Path) -> None:
    """Write benchmark.json, benchmark.md and one figure for each group of times and each curve."""
    write_json(output / "benchmark.json", results)
    (output / "benchmark.md").write_text(markdown(results))
    for group, found in results["groups"].items():
        if "timings" in found:
            plot_timings(found["timings"], output / f"times_{group}", title=group)
        for name, curve in found.get("curves", {}).items():
            plot_curve(curve, output / f"growth_{name.replace(' ', '_')}", title=name)


def markdown(results: Results) -> str:
    """All tables, under lines that name machine and setup."""
    lines = [
        "# Benchmark",
        "",
        _machine_line(results["machine"]),
        _setup_line(results["setup"]),
        "",
    ]
    for group, found in results["groups"].items():
        lines += [f"## {group}", ""]
        for name, rows in found.get("timings", {}).items():
            lines += [*_timing_table(name, rows), ""]
        for name, rows in found.get("tables", {}).items():
            lines += [*_number_table(name, rows), ""]
        for name, curve in found.get("curves", {}).items():
            lines += [*_curve_table(name, curve), ""]
        for name, check in found.get("checks", {}).items():
            lines += [*_check_lines(name, check), ""]
    return "\n".join(lines).rstrip() + "\n"


def _machine_line(machine: Mapping[str, Any]) -> str:
    return (
        f"Machine: {machine['cpu']} ({machine['cores']} cores, {machine['cpu_capability']}), "
        f"device {machine['device']}, {machine['threads']} threads, torch {machine['torch']}."
    )


def _setup_line(setup: Mapping[str, Any]) -> str:
    network = setup["network"]
    return (
        f"{network['backbone']} at {setup['image_size']} px, alignment kernel "
        f"{network['align_kernel']}, a memory of {setup['max_frames']} frames that stores every "
        f"{setup['every']}, frames of {setup['frame_width']} x {setup['frame_height']} pixels."
    )


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join(["---", *["---:"] * (len(head) - 1)]) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _timing_table(name: str, rows: Mapping[str, Any]) -> Iterator[str]:
    baselines = list(dict.fromkeys(base for row in rows.values() for base in row["ratio"]))
    head = [name, "median ms", "quartiles", *[f"x {base}" for base in baselines]]
    yield from _table(
        head,
        [
            [
                way,
                f"{row['median_ms']:.2f}",
                f"{row['q1_ms']:.2f} to {row['q3_ms']:.2f}",
                *[f"{row['ratio'][base]:.3f}" for base in baselines],
            ]
            for way, row in rows.items()
        ],
    )


def _number_table(name: str, rows: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    head = [name, *[column.replace("_", " ") for column in columns]]
    yield from _table(
        head, [[way, *[f"{row[column]:.1f}" for column in columns]] for way, row in rows.items()]
    )


def _curve_table(name: str, curve: Mapping[str, Any]) -> Iterator[str]:
    def exponent(series: Mapping[str, Any]) -> str:
        b = series["exponent"]
        return "" if b is None else f" (ms ~ x^{b:.2f})"

    series = curve["series"]
    head = [f"{name}: {curve['unit']}", *[f"{n} ms{exponent(s)}" for n, s in series.items()]]
    columns = [s["ms"] for s in series.values()]
    yield from _table(
        head,
        [
            [str(x), *[f"{ms:.2f}" for ms in row]]
            for x, row in zip(curve["x"], zip(*columns, strict=True), strict=True)
        ],
    )


def _check_lines(name: str, check: Mapping[str, Any]) -> Iterator[str]:
    yield f"{name}:"
    yield ""
    for way, value in check.items():
        yield f"- {way}: {_as_text(value)}"


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number:.2g}" for name, number in value.items())
    if isinstance(value, list):
        return ", ".join(f"{number:.5f}" for number in value)
    return f"{value:.2g}"
