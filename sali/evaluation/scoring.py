"""Score the frames of one clip, in order, one frame in memory at a time."""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sali.data.frames import read_grey
from sali.data.order import is_scored
from sali.errors import FrameError
from sali.evaluation.clip_result import COUNTS, ClipResult, PartScores, stored_key
from sali.evaluation.frame_rows import Frame, Scored, frame_columns, frame_row
from sali.evaluation.inputs import ClipMaps, needed_frames, read_truth
from sali.evaluation.quality import measure_clip
from sali.evaluation.settings import Settings
from sali.metrics.clinical import ClipTracker
from sali.metrics.counted_frame import ByteArray, FloatArray, as_mask
from sali.metrics.curves import NUM_THRESHOLDS
from sali.metrics.vps import (
    CURVES,
    NUM_VALUES,
    FrameScores,
    frame_scores,
    match_size,
)


class ScoreTask(NamedTuple):
    """One clip to score.

    Attributes:
        maps: The clip, with `present` filled in.
        settings: Settings of the evaluation.
        store: Folder for what is kept, `<store>/<clip>.npz` and `.csv`.
    """

    maps: ClipMaps
    settings: Settings
    store: Path

    @property
    def result_path(self) -> Path:
        """Where the sums are kept."""
        return self.store / f"{self.maps.truth.name}.npz"

    @property
    def rows_path(self) -> Path:
        """Where the rows of frames.csv are kept."""
        return self.store / f"{self.maps.truth.name}.csv"


def score_clip(task: ScoreTask) -> None:
    """Score a clip and store the result, unless the same was stored before.

    Raises:
        FrameError: A file that cannot be read, or frames that change size within the clip.
    """
    key = _fingerprint(task)
    if stored_key(task.result_path) == key and task.rows_path.is_file():
        return
    task.store.mkdir(parents=True, exist_ok=True)
    # Or else it would vouch for the rows that are about to change.
    task.result_path.unlink(missing_ok=True)
    settings, truth = task.settings, task.maps.truth
    quality = None
    if settings.quality:
        quality = measure_clip(truth, settings.quality_limits, settings.min_run)
    whole, low = _Sums(settings), _Sums(settings)
    counts = dict.fromkeys(COUNTS, 0)
    counts["frames"] = len(truth)
    counts["low_frames"] = sum(quality.is_low) if quality else 0
    with task.rows_path.open("w", newline="") as file:
        rows = csv.DictWriter(file, frame_columns(settings), restval="", lineterminator="\n")
        for frame in _frames(task):
            is_low = quality is not None and quality.is_low[frame.position]
            scored = _score_frame(frame, task, whole, low if is_low else None)
            if not is_low:
                low.tracker.gap()
            counts["missing"] += frame.state == "missing"
            if frame.mask is not None:
                num_polyp = int(np.count_nonzero(frame.mask))
                counts["polyp_frames"] += num_polyp > 0
                counts["full_masks"] += num_polyp == frame.mask.size
                frame = frame._replace(polyp_pixels=num_polyp)
            rows.writerow(frame_row(task.maps.truth, settings, frame, scored, quality))
    result = ClipResult(truth.subset, truth.name, counts, whole.mean(), low.mean())
    result.save(task.result_path, key)


def _frames(task: ScoreTask) -> Iterator[Frame]:
    maps, settings = task.maps, task.settings
    truth = maps.truth
    for index, is_needed in enumerate(needed_frames(truth, settings.with_clinical)):
        in_vps = settings.with_vps and not truth.is_polyp_free and is_scored(index, len(truth))
        if not is_needed:
            yield Frame(index, "unused", None, None, False)
        elif maps.present[index]:
            prediction = read_grey(maps.map_path(index))
            yield Frame(index, "there", read_truth(truth, index), prediction, in_vps)
        elif settings.missing == "zero":
            mask = read_truth(truth, index)
            yield Frame(index, "missing", mask, np.zeros(mask.shape, np.uint8), in_vps)
        else:
            yield Frame(index, "missing", None, None, False)


@dataclass
class _Sums:
    """Sums over the frames of a clip."""

    settings: Settings
    num_scored: int = 0
    vector: FloatArray = field(default_factory=lambda: np.zeros(NUM_VALUES))
    precision: FloatArray = field(default_factory=lambda: np.zeros(NUM_THRESHOLDS))

    def __post_init__(self) -> None:
        self.tracker = ClipTracker(self.settings.clinical)
        self.metrics = dict.fromkeys(self.settings.frame_metrics, (0.0, 0))

    def add_metrics(self, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                total, number = self.metrics[name]
                self.metrics[name] = total + value, number + 1

    def add(self, scores: FrameScores) -> None:
        self.num_scored += 1
        self.vector += scores.vector()
        self.precision += _precision(scores)

    def mean(self) -> PartScores:
        number = max(self.num_scored, 1)
        return PartScores(
            self.num_scored,
            self.vector / number,
            self.precision / number,
            self.tracker.tally,
            self.metrics,
        )


def _score_frame(frame: Frame, task: ScoreTask, whole: _Sums, low: _Sums | None) -> Scored:
    """Add a frame to the sums of the clip, and to those of its low-quality frames if it is one."""
    if frame.mask is None or frame.prediction is None:
        whole.tracker.gap()
        if low:
            low.tracker.gap()
        return Scored(None, None, {})
    prediction = match_size(frame.prediction, frame.mask.shape)
    scores = outcome = None
    if frame.is_scored:
        scores = frame_scores(prediction, frame.mask)
    if task.settings.with_clinical:
        try:
            outcome = whole.tracker.step(prediction, frame.mask)
        except ValueError as error:
            path = task.maps.truth.masks[frame.position]
            raise FrameError(f"{path}: {error}") from error
    values = _frame_values(prediction, frame, task)
    for sums in (whole, low):
        if sums:
            sums.add_metrics(values)
        if sums and scores:
            sums.add(scores)
    if low and outcome:
        low.tracker.step(prediction, frame.mask)
    return Scored(scores, outcome, values)


def _frame_values(prediction: ByteArray, frame: Frame, task: ScoreTask) -> dict[str, float | None]:
    """Return the frame metrics of a frame; FrameError if a function of theirs fails."""
    values: dict[str, float | None] = {}
    metrics = task.settings.frame_metrics
    truth = as_mask(frame.mask) if metrics and frame.mask is not None else None
    for name, metric in metrics.items():
        try:
            value = None if truth is None else metric.function(prediction, truth)
            values[name] = None if value is None or not np.isfinite(value) else float(value)
        except Exception as error:
            path = task.maps.map_path(frame.position)
            raise FrameError(
                f"metrics.{name} of {path}: {type(error).__name__}: {error}"
            ) from error
    return values


def _precision(scores: FrameScores) -> FloatArray:
    """Precision [256] from Dice and sensitivity, as 2 / d = 1 / p + 1 / s."""
    sensitivity = scores.curves[CURVES.index("sensitivity")]
    dice = scores.curves[CURVES.index("dice")]
    precision = np.zeros_like(dice)
    np.divide(dice * sensitivity, 2 * sensitivity - dice, out=precision, where=dice > 0)
    return precision


def _fingerprint(task: ScoreTask) -> str:
    """Return a text that changes with any file of the clip and anything its scores depend on."""
    digest = hashlib.sha256(task.settings.clip_key.encode())
    truth = task.maps.truth
    files = [path for path in truth.masks if path is not None]
    if truth.is_polyp_free or task.settings.quality:
        files += truth.frames
    if task.maps.folder.is_dir():
        files += sorted(task.maps.folder.iterdir())
    for path in files:
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
