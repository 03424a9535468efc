"""What lies in the folder of a run or of an evaluation."""

import csv
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sali.errors import DataError
from sali.evaluation.frame_rows import rows_by_clip
from sali.report.film import films_folder
from sali.run.io import read_json

PAGE = "report.html"
RUN = "prediction"
"""Name of the only method of a training's own test."""
Rows = list[dict[str, str]]


def is_sweep(folder: Path) -> bool:
    """Whether a folder holds the jobs of a sweep."""
    return (folder / "sweep.json").is_file() or any(folder.glob("*/job.json"))


@dataclass(frozen=True)
class RunFolder:
    """Reads the files of a run when they are asked for.

    Attributes:
        path: of the folder.
    """

    path: Path

    def __post_init__(self) -> None:
        """Raises DataError unless something of a run is there."""
        wanted = ("metrics.json", "status.json", "run.json")
        if not any((self.path / name).is_file() for name in wanted):
            raise DataError(
                f"{self.path} holds none of {', '.join(wanted)} and no jobs of a sweep; wanted the "
                "folder of a run, of an evaluation or of a sweep"
            )

    @cached_property
    def record(self) -> dict[str, Any]:
        """Content of run.json."""
        return read_json(self.path / "run.json")

    @cached_property
    def status(self) -> dict[str, Any]:
        """Content of status.json; evaluations have none."""
        return read_json(self.path / "status.json")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Content of metrics.json."""
        return read_json(self.path / "metrics.json")

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Content of metrics.json by method; of a training's test, that of `RUN`."""
        if not self.metrics:
            return {}
        return self.metrics.get("methods") or {self.metrics.get("method", RUN): self.metrics}

    def home(self, method: str) -> Path:
        """Where the files of one method are."""
        return self.path / method if "methods" in self.metrics else self.path

    @cached_property
    def config(self) -> str:
        """The composed configuration; empty if it was not kept."""
        path = self.path / ".hydra/config.yaml"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The same as values."""
        return (yaml.safe_load(self.config) if self.config else None) or {}

    @cached_property
    def overrides(self) -> list[str] | None:
        """What the command line changed; None if it was not kept."""
        path = self.path / ".hydra/overrides.yaml"
        return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None

    def frames(self, method: str) -> dict[tuple[str, str], Rows]:
        """Rows of frames.csv by subset and clip; none without a finished test."""
        path = self.home(method) / "frames.csv"
        if not (self.metrics and path.is_file()):
            return {}
        return {(subset, clip): rows for subset, clip, rows in rows_by_clip(path)}

    def curves(self, method: str) -> dict[str, np.ndarray]:
        """Arrays of curves.npz; none without a finished test."""
        path = self.home(method) / "curves.npz"
        if not (self.metrics and path.is_file()):
            return {}
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}

    def films(self) -> dict[tuple[str, str], Path]:
        """Files of the films by subset and clip; none without a finished test."""
        paths = films_folder(self.path).glob("*/*.json") if self.metrics else ()
        return {(path.parent.name, path.stem): path for path in sorted(paths)}

    def log(self) -> dict[str, list[tuple[float, float]]]:
        """What the training logged: (step, value) by name, as if it was never interrupted.

        A resumed run repeats the steps since its checkpoint; the later ones hold.
        """
        found: dict[str, list[tuple[float, float]]] = {}
        for path in sorted(self.path.glob("csv/version_*/metrics.csv"), key=_version):
            version: dict[str, list[tuple[float, float]]] = {}
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    for name, text in row.items():
                        if text and name not in ("step", "epoch"):
                            version.setdefault(name, []).append((float(row["step"]), float(text)))
            for name, points in version.items():
                before = [point for point in found.get(name, []) if point[0] < points[0][0]]
                found[name] = before + points
        return found


def _version(path: Path) -> int:
    number = re.search(r"\d+$", path.parent.name)
    return int(number[0]) if number else 0
