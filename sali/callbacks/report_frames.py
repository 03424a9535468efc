"""What a run's report shows of the frames of its test."""

import csv
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from sali.data.frames import read_frame
from sali.metrics.calibration import PROBABILITIES, reliability
from sali.report.film import Film, FilmRules, film_path, films_folder
from sali.report.film_choice import ClipChoice, clip_score
from sali.run.processes import gathered
from sali.streaming.maps import to_map

PREDICTION = "prediction"
"""Name of the only method in the films of a run."""


class ReportFrames(L.Callback):
    """Keep a test's figures per frame, its curves, and small films of some clips.

    In the run's folder, `frames.csv` and `curves.npz` have the form that `sali.evaluate` gives
    them. While the test goes on, every clip has a film, each on the process that streamed it; in
    the end those that `clips` does not choose are removed.

    Args:
        folder: of the run.
        enabled: False does nothing.
        film: arguments of ``FilmRules``.
        clips: arguments of ``ClipChoice``.
    """

    def __init__(
        self, folder: str, enabled: bool, film: dict[str, Any], clips: dict[str, Any]
    ) -> None:
        self.folder = Path(folder)
        self.enabled = enabled
        self.rules = FilmRules(**film)
        self.choice = ClipChoice(**clips)
        self._film: Film | None = None
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def on_test_start(self, trainer: Any, task: Any) -> None:
        if trainer.is_global_zero:  # of an earlier test in the same folder
            shutil.rmtree(films_folder(self.folder), ignore_errors=True)
            for name in ("frames.csv", "curves.npz"):
                (self.folder / name).unlink(missing_ok=True)
        trainer.strategy.barrier()
        self._rows = {subset: [] for subset in trainer.datamodule.test_clips}

    def on_test_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int, part: int = 0
    ) -> None:
        if not self.enabled:
            return
        subset, clips = list(trainer.datamodule.test_clips.items())[part]
        level = f"{task.clinical.threshold:g}"
        for (frame, probability), outcome in zip(
            outputs["results"], outputs["outcomes"], strict=True
        ):
            clip = clips[frame.clip]
            path = clip.frames[frame.number]
            self._rows[subset].append(
                {
                    "subset": subset,
                    "clip": clip.name,
                    "index": frame.number,
                    "frame": path.stem,
                    "polyp_pixels": outcome.num_polyp,
                    "marked_pixels": outcome.num_marked,
                    f"dice_at_{level}": outcome.dice,
                    f"iou_at_{level}": outcome.iou,
                    "detected": int(outcome.is_detected) if outcome.num_polyp else None,
                    "false_positive": None if outcome.num_polyp else int(outcome.is_false_positive),
                }
            )
            if frame.number == 0:
                self._film = Film(subset, clip.name, len(clip.frames), self.rules)
            assert self._film is not None
            if self._film.keeps(frame.number):
                picture, _ = read_frame(path, near=self.rules.height)
                shown = to_map(probability, task.maps).cpu().numpy()
                marked = shown >= np.searchsorted(PROBABILITIES, task.clinical.threshold)
                self._film.add(
                    frame.number, picture, frame.mask.cpu().numpy() > 0, {PREDICTION: marked}
                )
            if frame.is_last:
                self._film.save(film_path(self.folder, subset, clip.name))

    def on_test_epoch_end(self, trainer: Any, task: Any) -> None:
        if not self.enabled:
            return
        # All processes are here, so all films are on disk.
        of_processes = gathered(self._rows)
        self._rows, self._film = {}, None
        if not trainer.is_global_zero:
            return
        metric = f"dice_at_{task.clinical.threshold:g}"
        every = []
        for subset, clips in trainer.datamodule.test_clips.items():
            # Clips may be on every process, where there are fewer of them than processes.
            unique = {
                (row["clip"], row["index"]): row for rows in of_processes for row in rows[subset]
            }
            by_clip: dict[str, list[dict[str, Any]]] = {clip.name: [] for clip in clips}
            for (name, _), row in sorted(unique.items(), key=lambda item: item[0][1]):
                by_clip[name].append(row)
            every += [row for rows in by_clip.values() for row in rows]
            seen = {name: clip_score(rows, metric) for name, rows in by_clip.items() if rows}
            for name in seen.keys() - set(self.choice.of(seen)):
                film_path(self.folder, subset, name).unlink(missing_ok=True)
        if every:
            with (self.folder / "frames.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(every[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(every)

    def on_test_end(self, trainer: Any, task: Any) -> None:
        if not (self.enabled and trainer.is_global_zero):
            return
        curves: dict[str, Any] = {"thresholds": np.linspace(1, 0, 256)}
        for subset, found in task.curves.items():
            curves |= {f"{subset}/{name}": values for name, values in found.items()}
        for subset, pixels in task.pixels.items():
            curves[f"{subset}/pixels"] = pixels
            if pixels.any():
                bins = reliability(pixels)._asdict()
                curves |= {f"{subset}/reliability_{name}": bins[name] for name in bins}
        np.savez_compressed(self.folder / "curves.npz", **curves)
