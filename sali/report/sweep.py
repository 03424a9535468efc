"""The jobs of a sweep, means over their seeds, and the tables and figures of them."""

import csv
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from sali.errors import DataError
from sali.metrics.scores import NONE, is_built_in
from sali.report import plots
from sali.report.folder import RunFolder
from sali.report.options import PAGE
from sali.report.scores import (
    FIRST,
    beside_published,
    comparison,
    ordered,
    other_data,
    published_sali,
)
from sali.report.style import save
from sali.report.table import Cell, Row, Spread, Table, score_table
from sali.run.io import atomic_write, read_json, write_text
from sali.run.state import JOB, METRICS, STATUS, SWEEP, is_finished

SEED = "seed"
VALIDATION = "validation"
"""Where the best held-out score is shown, as if it were a subset."""
_EXPLAINED = (
    "Mean ± sample standard deviation (n - 1) over seeds; a single seed has no spread. Rows of "
    f"{VALIDATION} are the best held-out score; the other rows are test subsets."
)


class Setting(NamedTuple):
    """Jobs that differ in their seed only, and by which overrides they differ from others.

    Scores are values over seeds by subset and name; the best held-out score is of `VALIDATION`.
    """

    label: str
    seeds: list[str]
    scores: dict[str, dict[str, list[float]]]

    def spreads(self, subset: str) -> dict[str, Spread]:
        """Return mean and spread of every score of a subset."""
        return {
            name: Spread(fmean(values), stdev(values) if len(values) > 1 else None)
            for name, values in self.scores.get(subset, {}).items()
        }


class Sweep(NamedTuple):
    """What the folder of a sweep says: tested clips by subset, jobs that failed and why, ..."""

    settings: list[Setting]
    num_clips: dict[str, int]
    facts: list[tuple[str, str]]
    failed: list[str]
    jobs: Table


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds the jobs of a sweep."""
    return (folder / SWEEP).is_file() or any(folder.glob(f"*/{JOB}"))


def read_sweep(folder: Path) -> Sweep:
    """Read the folder of a sweep."""
    if not folder.is_dir():
        raise DataError(f"there is no sweep at {folder}; wanted the folder that holds its jobs")
    given = {path.parent: read_json(path) for path in folder.glob(f"*/{JOB}")}
    jobs = dict(sorted(given.items(), key=lambda item: (item[1].get("number", 0), item[0].name)))
    rows, failed = [], []
    for job, record in jobs.items():
        status = read_json(job / STATUS)
        if status.get("state") != "finished":
            why = record.get("error") or status.get("error") or "not finished"
            failed.append(f"{job.name}: {why}")
        best = next(iter(read_json(job / METRICS).get("best", {}).values()), None)
        rows.append(
            [
                Cell(job.name, link=f"{job.name}/{PAGE}" if (job / PAGE).is_file() else ""),
                Cell(str(status.get("state", "not started"))),
                Cell(NONE if best is None else f"{best:.4f}", True),
                Cell(" ".join(record.get("overrides", []))),
                Cell(str(record.get("error") or "")),
            ]
        )
    sweep = read_json(folder / SWEEP)
    facts = [
        ("Sweep", folder.resolve().name),
        ("Started", str(sweep.get("started", "")).replace("T", " ")),
        ("Jobs", f"{len(jobs)}, {len(jobs) - len(failed)} finished, {len(failed)} not"),
        ("Commit", str(sweep.get("git_commit") or "")),
        ("Command", str(sweep.get("command", ""))),
    ]
    notes = ["Names lead to the pages of the jobs, where they lie in folders below this page."]
    header = ["job", "state", "best held-out", "overrides", "error"]
    return Sweep(
        *_settings({job: record for job, record in jobs.items() if is_finished(job)}),
        [fact for fact in facts if fact[1]],
        failed,
        Table("Jobs", header, rows, notes),
    )


def _settings(jobs: Mapping[Path, Mapping[str, Any]]) -> tuple[list[Setting], dict[str, int]]:
    """Group finished jobs by all overrides but the seed; count the clips of each subset."""
    changes: dict[Path, dict[str, str]] = {}
    for job, record in jobs.items():
        pairs = (override.partition("=") for override in record["overrides"])
        changes[job] = {key.lstrip("+~"): value for key, _, value in pairs}
    keys = dict.fromkeys(key for own in changes.values() for key in own if key != SEED)
    varied = [key for key in keys if len({own.get(key) for own in changes.values()}) > 1]
    settings: dict[str, Setting] = {}
    num_clips: dict[str, int] = {}
    for job, own in changes.items():
        label = ", ".join(f"{key}={own[key]}" for key in varied if key in own) or "as configured"
        setting = settings.setdefault(label, Setting(label, [], {}))
        setting.seeds.append(own.get(SEED, NONE))
        run = RunFolder(job)
        (method,) = run.methods
        best = {name.rpartition("/")[2]: value for name, value in run.metrics["best"].items()}
        tested = run.scores(method)
        num_clips |= {subset: run.num_clips(method, subset) for subset in tested}
        for subset, scores in {VALIDATION: best, **tested}.items():
            for name, value in scores.items():
                if value is not None:
                    setting.scores.setdefault(subset, {}).setdefault(name, []).append(value)
    return list(settings.values()), num_clips


def sweep_tables(sweep: Sweep, name: str) -> tuple[Table | None, list[Table], list[str]]:
    """Return the scores of a sweep, ours and published results, and notes on the latter."""
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
    with (
        atomic_write(folder / "sweep.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["setting", "subset", "score", "mean", "std", "num_seeds", "seeds"])
        for subset in _subsets(sweep):
            for one in sweep.settings:
                for name, (mean, std) in one.spreads(subset).items():
                    counted = [len(one.scores[subset][name]), " ".join(one.seeds)]
                    writer.writerow([one.label, subset, name, mean, std, *counted])
    table, published, notes = sweep_tables(sweep, folder.name)
    assert table is not None
    head = [f"# {folder.name}\n", f"{_EXPLAINED}\n", table.to_markdown()]
    write_text(folder / "sweep.md", "\n".join([*head, comparison(published, notes)]))
    write_text(folder / "sweep.tex", table.to_latex(f"{folder.name}. {_EXPLAINED}"))
    for name, figure in sweep_figures(sweep).items():
        save(figure, folder / "figures" / name)


def _subsets(sweep: Sweep) -> list[str]:
    return list(dict.fromkeys(subset for setting in sweep.settings for subset in setting.scores))
