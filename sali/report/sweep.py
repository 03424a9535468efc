"""What a sweep's folder says: its settings, its jobs, and how they did."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

from sali.errors import DataError
from sali.evaluation.tables import NONE
from sali.report.chart import Chart, Interval, interval_chart
from sali.report.folder import PAGE
from sali.report.grid import Cell, Grid
from sali.report.scores import beside_published
from sali.run.io import read_json

_SHOWN = ("dice_max", "dice_mean", "dice_at_0.5", "iou_mean", "s_measure", "weighted_f", "mae")
_PLOTTED = ("dice_max", "dice_at_0.5")
_SPREAD = (
    "Mean ± sample standard deviation (n - 1) over seeds; a single seed has no spread. Rows of "
    "validation are the best held-out score."
)


class Value(NamedTuple):
    """A figure of a setting: mean over seeds, and its spread where there are several."""

    mean: float
    std: float | None
    seeds: str


class SweepPage(NamedTuple):
    """What the template is given."""

    facts: list[tuple[str, str]]
    failed: list[str]
    scores: Grid | None
    published: list[Grid]
    published_notes: list[str]
    charts: list[Chart]
    jobs: Grid


def read_sweep(folder: Path) -> SweepPage:
    """Reads the folder of a sweep.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    record = read_json(folder / "sweep.json")
    jobs = sorted(path.parent for path in folder.glob("*/job.json"))
    told = {job: (read_json(job / "job.json"), read_json(job / "status.json")) for job in jobs}
    values = _values(folder / "sweep.csv")
    num_clips: dict[str, int] = {}
    for job in jobs:
        for subset, clips in read_json(job / "metrics.json").get("clips", {}).items():
            num_clips[subset] = len(clips)
    ours: dict[str, dict[str, Any]] = {}
    for (setting, subset, figure), value in values.items():
        ours.setdefault(setting, {}).setdefault(subset, {})[figure] = (value.mean, value.std)
    published, notes = beside_published(ours, num_clips) if values else ([], [])
    failed = [
        f"{job.name}: {one.get('error') or status.get('error') or 'not finished'}"
        for job, (one, status) in told.items()
        if status.get("state") != "finished"
    ]
    facts = [
        ("Sweep", folder.resolve().name),
        ("Started", str(record.get("started", "")).replace("T", " ")),
        ("Jobs", f"{len(jobs)}, {len(jobs) - len(failed)} finished, {len(failed)} not"),
        ("Commit", str(record.get("git_commit") or "")),
        ("Command", str(record.get("command", ""))),
    ]
    return SweepPage(
        [fact for fact in facts if fact[1]],
        failed,
        _scores(values),
        published,
        notes,
        _charts(values),
        _jobs(told),
    )


def _values(path: Path) -> dict[tuple[str, str, str], Value]:
    """Rows of sweep.csv by setting, subset and figure."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["setting"], row["subset"], row["figure"]): Value(
                float(row["mean"]), float(row["std"]) if row["std"] else None, row["seeds"]
            )
            for row in csv.DictReader(file)
        }


def _scores(values: dict[tuple[str, str, str], Value]) -> Grid | None:
    figures = [name for name in _SHOWN if any(name == figure for _, _, figure in values)]
    pairs = sorted({(subset, setting) for setting, subset, _ in values}, key=_place(values))
    rows = []
    for subset, setting in pairs:
        own = {name: values.get((setting, subset, name)) for name in figures}
        seeds = next(v.seeds for (s, x, _), v in values.items() if (s, x) == (setting, subset))
        cells = [Cell(_text(value), True, value=value and value.mean) for value in own.values()]
        rows.append([Cell(setting), Cell(subset), Cell(seeds, True), *cells])
    if not rows:
        return None
    return Grid("Scores by setting", ["setting", "subset", "seeds", *figures], rows, [_SPREAD])


def _place(values: dict[tuple[str, str, str], Value]) -> Any:
    """Subsets and settings in the order of the file."""
    subsets = list(dict.fromkeys(subset for _, subset, _ in values))
    settings = list(dict.fromkeys(setting for setting, _, _ in values))
    return lambda pair: (subsets.index(pair[0]), settings.index(pair[1]))


def _text(value: Value | None) -> str:
    if value is None:
        return NONE
    return f"{value.mean:.4f}" + ("" if value.std is None else f" ± {value.std:.4f}")


def _charts(values: dict[tuple[str, str, str], Value]) -> list[Chart]:
    charts = []
    for figure in _PLOTTED:
        for subset in dict.fromkeys(s for _, s, f in values if f == figure):
            rows = [
                Interval(
                    setting,
                    value.mean,
                    None if value.std is None else value.mean - value.std,
                    None if value.std is None else value.mean + value.std,
                )
                for (setting, own, name), value in values.items()
                if (own, name) == (subset, figure)
            ]
            label = f"{figure}; bars: ± standard deviation over seeds"
            charts.append(interval_chart(f"{figure}, {subset}", rows, label))
    return charts


def _jobs(told: dict[Path, tuple[dict[str, Any], dict[str, Any]]]) -> Grid:
    rows = []
    for job, (record, status) in sorted(told.items(), key=lambda item: item[1][0].get("number", 0)):
        best = read_json(job / "metrics.json").get("best", {})
        score = next(iter(best.values()), None)
        page = f"{job.name}/{PAGE}" if (job / PAGE).is_file() else ""
        rows.append(
            [
                Cell(job.name, link=page),
                Cell(str(status.get("state", "not started"))),
                Cell(NONE if score is None else f"{score:.4f}", True),
                Cell(" ".join(record.get("overrides", []))),
                Cell(str(record.get("error") or "")),
            ]
        )
    notes = ["Names lead to the pages of the jobs, where they lie beside this one."]
    return Grid("Jobs", ["job", "state", "best held-out", "overrides", "error"], rows, notes)
