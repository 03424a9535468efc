"""The results of a benchmark as JSON, Markdown tables and plots."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import plot_curve, plot_timings
from sali.run.io import write_json

Results = Mapping[str, Any]
"""{"run": ..., "machine": ..., "setup": ..., "groups": {group: what its function returned}}.

Of a group are shown: "timings" {table: rows of `summarize`}, "tables" {table: {row: {column:
number}}}, "curves" {name: `Curve`} and "checks" {name: {variant: number, list or mapping}}."""


def write_report(results: Results, output: Path) -> None:
    """Write benchmark.json, benchmark.md and one plot for each group of times and each curve."""
    write_json(output / "benchmark.json", results)
    (output / "benchmark.md").write_text(markdown(results))
    for group, found in results["groups"].items():
        if "timings" in found:
            plot_timings(found["timings"], output / f"times_{group}", title=group)
        for name, curve in found.get("curves", {}).items():
            plot_curve(curve, output / f"growth_{name.replace(' ', '_')}", title=name)


def markdown(results: Results) -> str:
    """Return all tables, under lines that name machine and setup."""
    machine, setup = results["machine"], results["setup"]
    model = setup["model"]
    bank = model["bank"]
    lines = [
        f"# Benchmark\n\nMachine: {machine['cpu']} ({machine['cores']} cores, "
        f"{machine['cpu_capability']}), device {machine['device']}, {machine['threads']} threads, "
        f"torch {machine['torch']}.",
        f"{model['backbone']['name']} at {setup['image_size']} px, alignment kernel "
        f"{model['short_term']['kernel']}, a memory of {bank['max_frames']} frames that stores "
        f"every {bank['every']}, frames of {setup['frame_width']} x {setup['frame_height']} "
        "pixels.\n",
    ]
    for group, found in results["groups"].items():
        lines += [f"## {group}\n"]
        for kind, as_lines in _SHOWN.items():
            for name, content in found.get(kind, {}).items():
                lines += [*as_lines(name, content), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (head, ["---", *["---:"] * (len(head) - 1)], *rows):
        yield f"| {' | '.join(line)} |"


def _timings(name: str, rows: Mapping[str, Any]) -> Iterator[str]:
    bases = list(dict.fromkeys(base for row in rows.values() for base in row["ratio"]))
    return _table(
        [name, "median ms", "quartiles", *[f"x {base}" for base in bases]],
        [
            [
                way,
                f"{row['median_ms']:.2f}",
                f"{row['q1_ms']:.2f} to {row['q3_ms']:.2f}",
                *[f"{row['ratio'][base]:.3f}" for base in bases],
            ]
            for way, row in rows.items()
        ],
    )


def _numbers(name: str, rows: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    head = [name, *[column.replace("_", " ") for column in columns]]
    return _table(head, [[way, *[f"{row[c]:.1f}" for c in columns]] for way, row in rows.items()])


def _curve(name: str, curve: Mapping[str, Any]) -> Iterator[str]:
    head = [f"{name}: {curve['unit']}"]
    for label, own in curve["series"].items():
        b = own["exponent"]
        head.append(f"{label} ms" + ("" if b is None else f" (ms ~ x^{b:.2f})"))
    columns = [[f"{ms:.2f}" for ms in own["ms"]] for own in curve["series"].values()]
    return _table(head, zip(map(str, curve["x"]), *columns, strict=True))


def _check(name: str, check: Mapping[str, Any]) -> Iterator[str]:
    yield f"{name}:\n"
    for way, value in check.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{part} {number:.2g}" for part, number in value.items())
        elif isinstance(value, list):
            text = ", ".join(f"{number:.5f}" for number in value)
        else:
            text = f"{value:.2g}"
        yield f"- {way}: {text}"


_SHOWN = {"timings": _timings, "tables": _numbers, "curves": _curve, "checks": _check}
