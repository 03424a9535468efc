"""The jobs of a sweep, means over their seeds, and the tables and figures of them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from sali.errors import DataError
from sali.metrics.scores import NONE, is_built_in
from sali.report import plots
from sali.report.folder import RunFolder
from sali.report.options import PAGE
from sali.report.published import beside_published, other_data, published_sali
from sali.report.scores import FIRST, ordered
from sali.report.style import save
from sali.report.table import Cell, Row, Spread, Table, score_table
from sali.run.io import read_json
from sali.run.state import JOB, METRICS, STATUS, SWEEP, is_finished

SEED = "seed"
VALIDATION = "validation"
"""Where the best held-out score is shown, as if it were a subset."""
_EXPLAINED = (
    "Mean ± sample standard deviation (n - 1) over seeds; a single seed has no spread. Rows of "
    f"{VALIDATION} are the best held-out score; the other rows are test subsets."
)


@dataclass(frozen=True)
class Job:
    """A finished job.

    Attributes:
        overrides: Values by key.
        scores: Values by subset and name; the best held-out score under `VALIDATION`.
        num_clips: Number of tested clips by subset.
    """

    overrides: dict[str, str]
    scores: dict[str, dict[str, float]]
    num_clips: dict[str, int]


@dataclass(frozen=True)
class Setting:
    """Jobs that differ in their seed only.

    Attributes:
        label: Overrides in which the settings of the sweep differ.
        seeds: Seeds in order.
        scores: Values over seeds by subset and name.
    """

    label: str
    seeds: tuple[str, ...]
    scores: dict[str, dict[str, tuple[float, ...]]]

    def spreads(self, subset: str) -> dict[str, Spread]:
        """Return mean and spread of every score of a subset."""
        return {
            name: Spread(fmean(values), stdev(values) if len(values) > 1 else None)
            for name, values in self.scores.get(subset, {}).items()
        }


class Sweep(NamedTuple):
    """What the folder of a sweep says.

    Attributes:
        settings: Settings in the order in which the sweep named them.
        num_clips: Number of tested clips by subset.
        facts: Names and values for the head of a page.
        failed: Jobs that did not finish, and why.
        jobs: Table of all jobs.
    """

    settings: list[Setting]
    num_clips: dict[str, int]
    facts: list[tuple[str, str]]
    failed: list[str]
    jobs: Table


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds the jobs of a sweep."""
    return (folder / SWEEP).is_file() or any(folder.glob(f"*/{JOB}"))


def read_sweep(folder: Path) -> Sweep:
    """Read the folder of a sweep.

    Raises:
        DataError: There is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"there is no sweep at {folder}; wanted the folder that holds its jobs")
    records = {path.parent: read_json(path) for path in folder.glob(f"*/{JOB}")}
    folders = sorted(records, key=lambda job: (records[job].get("number", 0), job.name))
    states = {job: read_json(job / STATUS) for job in folders}
    jobs = [_job(job, records[job]) for job in folders if is_finished(job)]
    failed = [
        f"{job.name}: {records[job].get('error') or states[job].get('error') or 'not finished'}"
        for job in folders
        if states[job].get("state") != "finished"
    ]
    record = read_json(folder / SWEEP)
    facts = [
        ("Sweep", folder.resolve().name),
        ("Started", str(record.get("started", "")).replace("T", " ")),
        ("Jobs", f"{len(folders)}, {len(folders) - len(failed)} finished, {len(failed)} not"),
        ("Commit", str(record.get("git_commit") or "")),
        ("Command", str(record.get("command", ""))),
    ]
    rows = [_job_row(job, records[job], states[job]) for job in folders]
    notes = ["Names lead to the pages of the jobs, where they lie in folders below this page."]
    header = ["job", "state", "best held-out", "overrides", "error"]
    return Sweep(
        _settings(jobs),
        {subset: number for job in jobs for subset, number in job.num_clips.items()},
        [fact for fact in facts if fact[1]],
        failed,
        Table("Jobs", header, rows, notes),
    )


def _job(folder: Path, record: dict[str, Any]) -> Job:
    run = RunFolder(folder)
    (method,) = run.methods
    scores = {
        subset: {name: value for name, value in own.items() if value is not None}
        for subset, own in run.scores(method).items()
    }
    best = {name.rpartition("/")[2]: value for name, value in run.metrics["best"].items()}
    pairs = (override.partition("=") for override in record["overrides"])
    return Job(
        {key.lstrip("+~"): value for key, _, value in pairs},
        {VALIDATION: best, **scores},
        {subset: run.num_clips(method, subset) for subset in scores},
    )


def _job_row(job: Path, record: dict[str, Any], status: dict[str, Any]) -> list[Cell]:
    best = next(iter(read_json(job / METRICS).get("best", {}).values()), None)
    return [
        Cell(job.name, link=f"{job.name}/{PAGE}" if (job / PAGE).is_file() else ""),
        Cell(str(status.get("state", "not started"))),
        Cell(NONE if best is None else f"{best:.4f}", True),
        Cell(" ".join(record.get("overrides", []))),
        Cell(str(record.get("error") or "")),
    ]


def _settings(jobs: Sequence[Job]) -> list[Setting]:
    """Group jobs by all overrides but the seed."""
    keys = list(dict.fromkeys(key for job in jobs for key in job.overrides if key != SEED))
    varied = [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]
    groups: dict[tuple[str | None, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key) for key in varied), []).append(job)
    settings = []
    for values, members in groups.items():
        named = zip(varied, values, strict=True)
        label = ", ".join(f"{key}={value}" for key, value in named if value is not None)
        scores: dict[str, dict[str, tuple[float, ...]]] = {}
        for job in members:
            for subset, own in job.scores.items():
                for name, value in own.items():
                    found = scores.setdefault(subset, {})
                    found[name] = (*found.get(name, ()), value)
        seeds = tuple(job.overrides.get(SEED, NONE) for job in members)
        settings.append(Setting(label or "as configured", seeds, scores))
    return settings


def sweep_tables(sweep: Sweep, name: str) -> tuple[Table | None, list[Table], list[str]]:
    """Return the scores of a sweep, ours and published results, and notes on the latter.

    Args:
        sweep: Content of the sweep's folder.
        name: Title of the first table.
    """
    rows = [
        Row(subset, (subset, setting.label, str(len(setting.seeds))), setting.spreads(subset))
        for subset in _subsets(sweep)
        for setting in sweep.settings
        if subset in setting.scores
    ]
    if not rows:
        return None, [], []
    names = ordered(dict.fromkeys(name for row in rows for name in row.scores))
    shown = [name for name in names if name in FIRST or not is_built_in(name)]
    labels = ("subset", "setting", "seeds")
    ours = {
        setting.label: {subset: setting.spreads(subset) for subset in sweep.num_clips}
        for setting in sweep.settings
    }
    published, notes = beside_published(ours, sweep.num_clips)
    return score_table(name, labels, shown, rows, notes=[_EXPLAINED]), published, notes


def sweep_figures(sweep: Sweep) -> dict[str, Figure]:
    """Return a figure per variant of Dice that is not a mean over thresholds."""
    names = dict.fromkeys(n for s in sweep.settings for own in s.scores.values() for n in own)
    others = other_data(sweep.num_clips)
    return {
        name: plots.settings(
            {
                setting.label: {x: own[name] for x, own in setting.scores.items() if name in own}
                for setting in sweep.settings
            },
            name,
            {} if others else published_sali(name),
        )
        for name in names
        if name == "dice_max" or "dice_at_" in name
    }


def write_files(folder: Path, sweep: Sweep) -> None:
    """Write `sweep.csv`, `sweep.md`, `sweep.tex` and `figures/` into the folder of a sweep."""
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "subset", "score", "mean", "std", "num_seeds", "seeds"])
        for subset in _subsets(sweep):
            for one in sweep.settings:
                for name, (mean, std) in one.spreads(subset).items():
                    counted = [len(one.scores[subset][name]), " ".join(one.seeds)]
                    writer.writerow([one.label, subset, name, mean, std, *counted])
    table, published, notes = sweep_tables(sweep, folder.name)
    assert table is not None
    parts = [f"# {folder.name}\n", f"{_EXPLAINED}\n", table.to_markdown()]
    parts += ["# Ours and published results\n", *(f"- {note}" for note in notes), ""]
    for own in published:
        parts += [f"## {own.title}\n", own.to_markdown()]
    (folder / "sweep.md").write_text("\n".join(parts), encoding="utf-8")
    latex = table.to_latex(f"{folder.name}. {_EXPLAINED}")
    (folder / "sweep.tex").write_text(latex, encoding="utf-8")
    for name, figure in sweep_figures(sweep).items():
        save(figure, folder / "figures" / name)


def _subsets(sweep: Sweep) -> list[str]:
    return list(dict.fromkeys(subset for setting in sweep.settings for subset in setting.scores))
