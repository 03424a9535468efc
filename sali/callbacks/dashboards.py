"""What a test wrote, in the dashboards that can show it; the files are in the run's folder."""

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from sali.errors import ConfigError
from sali.evaluation.run import Evaluation
from sali.report.frames import write_gif, write_sheet

_CURVE_EVERY = 5
"""Thresholds between two rows of a curve's table."""


@runtime_checkable
class OnTested(Protocol):
    """A callback that receives the evaluation of the test."""

    def on_tested(self, trainer: L.Trainer, tested: Evaluation) -> None:
        """Use what the test wrote; only the first process calls this."""


class ShowTest(L.Callback):
    """Log the scores, tables and pictures of a test, and draw some frames for it.

    Written to `figures/` of the run: `overlays_<subset>.jpg`, frames at even distances with true
    mask and prediction, and `clip_<subset>.gif`, the beginning of the first clip.

    Args:
        overlays: Frames of a subset on its sheet; 0 for no sheet.
        film_frames: Frames of the film; 0 for no film.
        frames_per_second: Speed of the film.
        width: Width of the film in pixels.
    """

    def __init__(
        self, overlays: int, film_frames: int, frames_per_second: float, width: int
    ) -> None:
        self.overlays = overlays
        self.film_frames = film_frames
        self.frames_per_second = frames_per_second
        self.width = width

    def on_tested(self, trainer: L.Trainer, tested: Evaluation) -> None:
        """Draw, and log the pictures and tables."""
        figures = tested.output / "figures"
        with np.load(tested.output / "curves.npz") as stored:
            curves = dict(stored)
        for subset, own in groupby(tested.maps, lambda one: one.truth.subset):
            key, maps = f"test/{subset}", list(own)
            if self.overlays:
                path = figures / f"overlays_{subset}.jpg"
                write_sheet(maps, path, self.overlays)
                show_image(trainer, f"{key}/overlays", path)
            if self.film_frames:
                path = figures / f"clip_{subset}.gif"
                write_gif(maps[0], path, self.film_frames, self.frames_per_second, self.width)
                for logger in trainer.loggers:  # TensorBoard would need moviepy and shows none
                    if isinstance(logger, WandbLogger):
                        logger.log_video(f"{key}/clip", [str(path)], trainer.global_step)
            for name in ("worst_frames", "precision_recall"):
                path = figures / f"{name}_{subset}.png"
                if path.is_file():
                    show_image(trainer, f"{key}/{name}", path)
            with (tested.output / "clips.csv").open(newline="", encoding="utf-8") as file:
                clips = [row for row in csv.DictReader(file) if row.pop("subset") == subset]
            cells = [[_number(text) for text in row.values()] for row in clips]
            show_table(trainer, f"{key}/clips", list(clips[0]), cells)
            if f"{subset}/precision" in curves:
                columns = ["thresholds", "precision", "sensitivity"]
                values = [curves[columns[0]], *(curves[f"{subset}/{name}"] for name in columns[1:])]
                rows = np.stack(values, axis=1)[::_CURVE_EVERY].tolist()
                show_table(trainer, f"{key}/precision_recall_table", columns, rows)


def log_scores(trainer: L.Trainer, metrics: dict[str, Any]) -> None:
    """Log the scores of metrics.json as `test/<subset>/<name>`, clinical ones below `clinical/`."""
    found: dict[str, float] = {}
    parts = (("", metrics), ("", metrics["frame_metrics"]), ("clinical/", metrics["clinical"]))
    for prefix, part in parts:
        for subset, scores in part.get("subsets", {}).items():
            for name, value in scores.items():
                if value is not None:  # there was no case of it
                    found[f"test/{subset}/{prefix}{name}"] = value
    for logger in trainer.loggers:
        logger.log_metrics(found, step=trainer.global_step)
        logger.save()


def _number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text


class LogArtifacts(L.Callback):
    """Log checkpoint or maps as artifacts of the W&B run after the test; offline too.

    They are named `model-<run id>` and `maps-<run id>`.
    """

    def __init__(self, checkpoint: str, log_model: bool, log_maps: bool) -> None:
        self.checkpoint = Path(checkpoint)
        self.log_model = log_model
        self.log_maps = log_maps

    def setup(self, trainer: L.Trainer, task: Any, stage: str) -> None:
        """Refuse before the training what could not be logged after it."""
        is_wanted = self.log_model or self.log_maps
        if is_wanted and not any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            raise ConfigError("log_model and log_maps are for W&B; add logger=wandb or logger=many")

    def on_tested(self, trainer: L.Trainer, tested: Evaluation) -> None:
        """Log the artifacts."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                run = logger.experiment
                if self.log_model:
                    run.log_artifact(str(self.checkpoint), name=f"model-{run.id}", type="model")
                if self.log_maps:
                    (folder,) = tested.trees.values()  # a training tests one network
                    run.log_artifact(str(folder), name=f"maps-{run.id}", type="maps")


def show_image(trainer: L.Trainer, key: str, path: Path) -> None:
    """Log an image file."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)], trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            picture = np.asarray(Image.open(path).convert("RGB"))
            logger.experiment.add_image(key, picture, trainer.global_step, dataformats="HWC")


def show_table(
    trainer: L.Trainer, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Log a table."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            data = [list(row) for row in rows]
            logger.log_table(key, list(columns), data, step=trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            lines = [columns, ["---"] * len(columns), *rows]
            text = "\n".join("|" + "|".join(map(str, line)) + "|" for line in lines)
            logger.experiment.add_text(key, text, trainer.global_step)
