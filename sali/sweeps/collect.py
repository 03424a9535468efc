"""The finished jobs of a sweep's folder, and means over their seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sali.run.io import read_json
from sali.sweeps.job import JOB, METRICS, is_finished

SEED = "seed"
VALIDATION = "validation"
"""Where the best held-out score is shown, beside the test subsets."""


@dataclass(frozen=True)
class Job:
    """A finished job.

    Attributes:
        name: of its folder.
        overrides: values by key.
        scores: {subset: {figure: value}}; the best held-out score under `VALIDATION`.
        num_clips: tested clips by subset.
    """

    name: str
    overrides: dict[str, str]
    scores: dict[str, dict[str, float]]
    num_clips: dict[str, int]


@dataclass(frozen=True)
class Spread:
    """Values of one figure over the seeds of a setting.

    Attributes:
        values: one per seed, in the order of the seeds.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1); None for a single seed."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Setting:
    """Jobs that differ in their seed only.

    Attributes:
        label: the overrides in which the settings of the sweep differ.
        seeds: in order.
        scores: {subset: {figure: spread over seeds}}.
    """

    label: str
    seeds: tuple[str, ...]
    scores: dict[str, dict[str, Spread]]


def finished_jobs(folder: Path) -> list[Job]:
    """Those of a sweep's folder, in the order in which the sweep named them."""
    paths = [path.parent for path in folder.glob(f"*/{JOB}") if is_finished(path.parent)]
    return [
        _job(path) for path in sorted(paths, key=lambda p: (read_json(p / JOB)["number"], p.name))
    ]


def _job(folder: Path) -> Job:
    metrics = read_json(folder / METRICS)
    overrides = read_json(folder / JOB)["overrides"]
    return Job(
        folder.name,
        {key.lstrip("+~"): value for key, _, value in (o.partition("=") for o in overrides)},
        {VALIDATION: _bare(metrics["best"]), **_scores(metrics)},
        {subset: len(clips) for subset, clips in metrics["clips"].items()},
    )


def _bare(best: dict[str, float]) -> dict[str, float]:
    """Without "val/" before the names of figures."""
    return {name.rpartition("/")[2]: value for name, value in best.items()}


def _scores(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The field's figures, and those at a fixed threshold beside them."""
    means = metrics.get("frame_metrics", {}).get("subsets", {})
    return {
        subset: {
            name: value
            for name, value in {**figures, **means.get(subset, {})}.items()
            if value is not None
        }
        for subset, figures in metrics["subsets"].items()
    }


def settings_of(jobs: Sequence[Job]) -> list[Setting]:
    """Group jobs by all overrides but the seed, in the order in which the sweep named them."""
    keys = list(dict.fromkeys(key for job in jobs for key in job.overrides if key != SEED))
    varied = [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]
    groups: dict[tuple[str | None, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key) for key in varied), []).append(job)
    return [
        Setting(
            ", ".join(f"{k}={v}" for k, v in zip(varied, values, strict=True) if v is not None)
            or "as configured",
            tuple(job.overrides.get(SEED, "-") for job in members),
            _spreads(members),
        )
        for values, members in groups.items()
    ]


def _spreads(jobs: Sequence[Job]) -> dict[str, dict[str, Spread]]:
    subsets = dict.fromkeys(subset for job in jobs for subset in job.scores)
    return {
        subset: {
            figure: Spread(tuple(j.scores[subset][figure] for j in jobs if _has(j, subset, figure)))
            for figure in dict.fromkeys(f for j in jobs for f in j.scores.get(subset, {}))
        }
        for subset in subsets
    }


def _has(job: Job, subset: str, figure: str) -> bool:
    return figure in job.scores.get(subset, {})
