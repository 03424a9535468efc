"""The folder of a run or an evaluation: its files, and what they say of it."""

import csv
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sali.errors import DataError
from sali.evaluation.writing import rows_by_clip
from sali.metrics.scores import ScoreInfo, score_info
from sali.run.io import read_json

Key = tuple[str, str]
"""Subset and clip."""
Rows = list[dict[str, str]]
Scores = dict[str, float | None]
Curves = dict[str, np.ndarray]
"""Arrays of one subset by their short names; `thresholds` is one of them."""


def frame_metric(columns: Iterable[str]) -> str:
    """Return the Dice of frames.csv: that of raw probabilities, or else that of VPS."""
    return next((name for name in columns if name.startswith("dice_at_")), "dice_max")


def clip_score(rows: Iterable[Mapping[str, Any]], metric: str) -> float:
    """Return what clips are ranked by: the mean of a column of frames.csv.

    Where no frame of the clip has that, as there is no polyp: the share of its frames without a
    false alarm, or 1 if frames.csv does not say.
    """
    rows = list(rows)
    values = [float(row[metric]) for row in rows if row.get(metric)]
    if values:
        return sum(values) / len(values)
    alarms = [int(row["false_positive"]) for row in rows if row.get("false_positive")]
    return 1 - sum(alarms) / len(alarms) if alarms else 1.0


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, each read when it is asked for.

    Attributes:
        path: Path of the folder.
    """

    path: Path

    def __post_init__(self) -> None:
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

    @cached_property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Content of metrics.json by method."""
        if not self.metrics:
            return {}
        found = self.metrics.get("methods") or {self.metrics.get("method", ""): self.metrics}
        if not all("counts" in content for content in found.values()):
            raise DataError(
                f"{self.path}/metrics.json: got one of an earlier version, wanted one with counts "
                "of clips; evaluate the maps again with sali.evaluate"
            )
        return found

    def info(self, name: str) -> ScoreInfo:
        """Return what is known of a score; metrics.json says it of those of other packages."""
        return score_info(name, next(iter(self.methods.values()), {}).get("scores"))

    def num_clips(self, method: str, subset: str, in_vps: bool = False) -> int:
        """Return how many clips of a subset were scored, or counted under VPS."""
        return self.methods[method]["counts"][subset]["vps_clips" if in_vps else "clips"]

    def scores(self, method: str) -> dict[str, Scores]:
        """Return all scores of a method by subset, of all protocols."""
        found: dict[str, Scores] = {}
        for part in self._parts(method):
            for subset, scores in part["subsets"].items():
                found.setdefault(subset, {}).update(scores)
        return found

    def clip_scores(self, method: str) -> dict[Key, Scores]:
        """Return all scores of a method by clip, of all protocols."""
        found: dict[Key, Scores] = {}
        for part in self._parts(method):
            for subset, clips in part["clips"].items():
                for clip, scores in clips.items():
                    found.setdefault((subset, clip), {}).update(scores)
        return found

    def _parts(self, method: str) -> list[dict[str, Any]]:
        """Parts of a metrics.json that hold scores of subsets and clips."""
        content = self.methods[method]
        parts = [part for part in content.values() if isinstance(part, dict) and "subsets" in part]
        return [content, *parts]

    def home(self, method: str) -> Path:
        """Return where the files of one method are."""
        return self.path / method if "methods" in self.metrics else self.path

    def hydra(self, name: str) -> str:
        """Return the text of a file that Hydra keeps; empty if it was not kept."""
        path = self.path / ".hydra" / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The composed configuration as values."""
        return yaml.safe_load(self.hydra("config.yaml")) or {}

    @cached_property
    def frames(self) -> dict[str, dict[Key, Rows]]:
        """Rows of frames.csv by method, then by clip; none without a finished test."""
        found: dict[str, dict[Key, Rows]] = {}
        for method in self.methods:
            path = self.home(method) / "frames.csv"
            rows = rows_by_clip(path) if path.is_file() else ()
            found[method] = {(subset, clip): own for subset, clip, own in rows}
        return found

    @cached_property
    def curves(self) -> dict[str, dict[str, Curves]]:
        """Arrays of curves.npz by method, then by subset; none without a finished test."""
        found: dict[str, dict[str, Curves]] = {method: {} for method in self.methods}
        for method, by_subset in found.items():
            path = self.home(method) / "curves.npz"
            if path.is_file():
                with np.load(path) as stored:
                    for key in (name for name in stored.files if "/" in name):
                        subset, _, name = key.partition("/")
                        own = by_subset.setdefault(subset, {"thresholds": stored["thresholds"]})
                        own[name] = stored[key]
        return found

    def films(self) -> dict[Key, Path]:
        """Return the files of the films by clip; none without a finished test."""
        paths = films_folder(self.path).glob("*/*.json") if self.metrics else ()
        return {(path.parent.name, path.stem): path for path in sorted(paths)}

    def log(self) -> dict[str, list[tuple[float, float]]]:
        """Return what the training logged, (step, value) by name, as if without a break.

        A resumed run repeats the steps since its checkpoint; the later ones hold.
        """
        found: dict[str, list[tuple[float, float]]] = {}
        paths = self.path.glob("csv/version_*/metrics.csv")
        for path in sorted(paths, key=lambda path: (len(str(path)), path)):
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

    @property
    def title(self) -> str:
        """Name of the run or of the evaluation."""
        name = self.settings.get("name")
        if name:
            return f"{name}, {self.path.resolve().name}"
        if len(self.methods) > 1:
            return f"{len(self.methods)} methods compared"
        return next(iter(self.methods), "") if not self.status else self.path.resolve().name

    @property
    def state(self) -> tuple[str, str]:
        """How it ended, e.g. "finished" or "interrupted", and what a reader must know of that."""
        found = self.status.get("state", "finished" if self.metrics else "unknown")
        if found in ("failed", "interrupted"):
            return found, str(self.status.get("error") or "the error was not recorded")
        if found == "running":
            return found, "The run had not ended when this page was made; it may be running still."
        return found, ""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and values of what was run, what matters most first, long ones last."""
        record, data = self.record, self.record.get("data")
        started = record.get("started")
        commit, plus, changes = str(record.get("git_commit") or "").partition("+")
        versions = {"sali": record.get("sali"), "Python": record.get("python")}
        versions |= record.get("versions", {}) | record.get("packages", {})
        device = record.get("machine", "")
        if "device" in record:
            processes = record.get("num_processes", 1)
            device = f"{record['device']} ({device})"
            device += f", {processes} processes" if processes > 1 else ""
        facts = [
            ("Experiment", self.settings.get("name")),
            ("Methods", "" if self.status else ", ".join(self.methods)),
            (
                "Started" if self.status else "Written",
                started and f"{datetime.fromisoformat(started):%Y-%m-%d %H:%M:%S %Z}",
            ),
            ("Duration", self._duration()),
            ("Protocol", self.metrics.get("protocol")),
            ("Checkpoint tested", self.metrics.get("checkpoint")),
            *((f"Best {name}", f"{v:.4f}") for name, v in self.metrics.get("best", {}).items()),
        ]
        if data:
            subsets = [f"{name} ({number})" for name, number in data["test_subsets"].items()]
            facts += [
                ("Training clips", f"{data['train_clips']} ({data['train_frames']} frames)"),
                ("Test clips", ", ".join(subsets)),
                ("Held-out cases", ", ".join(data["validation_clips"])),
            ]
        facts += [
            ("Seed", record.get("seed", "")),
            ("Device", device),
            ("Commit", commit[:12] + plus + changes),
            ("Data", data and f"{data['root']}, fingerprint {data['fingerprint']}"),
            ("Ground truth", record.get("gt")),
            ("Maps", record.get("pred")),
            ("Resumed from", record.get("resumed_from")),
            ("Command", record.get("command")),
        ]
        if overrides := self.hydra("overrides.yaml"):  # what the command line changed
            changes = shlex.join(yaml.safe_load(overrides) or ())
            facts.append(("Changed from the defaults", changes or "nothing"))
        facts.append(("Versions", ", ".join(f"{name} {v}" for name, v in versions.items() if v)))
        return [(name, str(value)) for name, value in facts if value not in (None, "")]

    def _duration(self) -> str:
        """Return the time from the record's start to the last change of status.json."""
        started = self.record.get("started")
        if not started or self.status.get("state", "running") == "running":
            return ""
        end = datetime.fromtimestamp((self.path / "status.json").stat().st_mtime, UTC)
        seconds = round((end - datetime.fromisoformat(started)).total_seconds())
        if seconds < 0:
            return ""
        text = f"{seconds // 3600} h " if seconds >= 3600 else ""
        minutes = seconds % 3600 // 60
        return f"{text}{minutes} min {seconds % 60} s (to the last change of status.json)"


def films_folder(folder: Path) -> Path:
    """Return where the films are in a run's folder, as `<subset>/<clip>.json`."""
    return folder / "report" / "clips"
