"""Score the frames of one clip, in order, one frame in memory at a time."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sali.data.clip_tables import Runs
from sali.data.frames import read_frame, read_grey
from sali.data.index import Clip
from sali.data.listing import is_scored, state_of, visible
from sali.errors import FrameError
from sali.evaluation.clip_result import COUNTS, ClipResult, PartScores
from sali.evaluation.inputs import ClipMaps, needed_frames, read_truth
from sali.evaluation.settings import Settings
from sali.metrics.clinical import ClipTracker
from sali.metrics.counted_frame import BoolArray, ByteArray
from sali.metrics.frame_quality import (
    FrameQuality,
    QualityLimits,
    consecutive_runs,
    field_of_view,
    frame_quality,
)
from sali.metrics.operating_point import OperatingPoint
from sali.metrics.vps import METRIC_NAMES, frame_scores, match_size, summary

_VIEW_FRAMES = 12
Row = dict[str, Any]
"""A row of frames.csv; what is None or missing is an empty cell."""


def score_clip(
    maps: ClipMaps, settings: Settings, point: OperatingPoint | None, store: Path
) -> ClipResult:
    """Score a clip and store the result, unless the same was stored before.

    `store` keeps the sums as `<clip>.json`, and the rows of frames.csv as `<clip>.csv`. Without an
    operating point there are no scores at it.

    Raises:
        FrameError: A file that cannot be read, or frames that change size within the clip.
    """
    key = _fingerprint(maps, settings, point)
    name = maps.truth.name
    result_path, rows_path = store / f"{name}.json", store / f"{name}.csv"
    stored = ClipResult.load(result_path, key)
    if stored is not None and rows_path.is_file():
        return stored
    store.mkdir(parents=True, exist_ok=True)
    # Or else it would vouch for the rows that are about to change.
    result_path.unlink(missing_ok=True)
    scorer = _ClipScorer(maps, settings, point)
    with rows_path.open("w", newline="") as file:
        rows = csv.DictWriter(file, frame_columns(settings), restval="", lineterminator="\n")
        rows.writerows(scorer.rows())
    scorer.result.save(result_path, key)
    return scorer.result


def frame_columns(settings: Settings) -> list[str]:
    """Return the columns of frames.csv; `dice_max` and the like are of the frame's own curve."""
    columns = ["subset", "clip", "index", "frame", "map", "scored", "polyp_pixels"]
    if settings.with_vps:
        columns += METRIC_NAMES
    if settings.with_clinical:
        level = f"{settings.clinical.threshold:g}"
        columns += ["marked_pixels", f"dice_at_{level}", f"iou_at_{level}"]
        columns += ["detected", "false_positive"]
    columns += settings.frame_metrics
    if settings.quality:
        columns += FrameQuality._fields
    if settings.with_low:
        columns += ["broken_limits", "low_quality"]
    return columns


class _ClipScorer:
    """Scores of a clip, frame by frame.

    Attributes:
        result: Sums over the frames whose rows were made.
    """

    def __init__(self, maps: ClipMaps, settings: Settings, point: OperatingPoint | None) -> None:
        truth = maps.truth
        self._maps, self._truth, self._settings = maps, truth, settings
        self._quality: list[Row] = [{}] * len(truth)
        if settings.quality:
            self._quality = quality_rows(truth, settings.quality_limits, settings.min_run)
        elif settings.runs is not None:
            self._quality = _run_rows(truth, settings.runs)
        rate = truth.frames_per_second or settings.clinical.frames_per_second
        rules = replace(settings.clinical, frames_per_second=rate)
        self._whole, self._low = ClipTracker(rules), ClipTracker(rules)
        # Marks of a mask are those of a map of 0 and 1 at threshold 0.5.
        self._at_point = ClipTracker(replace(rules, threshold=0.5)) if point else None
        counts = dict.fromkeys(COUNTS, 0)
        counts["frames"] = len(truth)
        if not truth.is_polyp_free:
            counts["unannotated"] = sum(mask is None for mask in truth.masks)
        counts["low_frames"] = sum(row.get("low_quality", 0) for row in self._quality)
        whole, low = (
            PartScores(tracker.tally, dict.fromkeys(settings.frame_metrics, (0.0, 0)))
            for tracker in (self._whole, self._low)
        )
        self.result = ClipResult(truth.subset, truth.name, counts, whole, low, point)
        if self._at_point:
            self.result.at_point = self._at_point.tally

    def rows(self) -> Iterator[Row]:
        """Score all frames; yield their rows of frames.csv."""
        needed = needed_frames(self._truth, self._settings.with_clinical)
        for index, is_needed in enumerate(needed):
            is_there = self._maps.present[index]
            state = ("there" if is_there else "missing") if is_needed else "unused"
            self.result.counts["missing"] += state == "missing"
            row = {
                "subset": self._truth.subset,
                "clip": self._truth.name,
                "index": index,
                "frame": self._truth.stems[index],
                "map": state,
                "scored": 0,
                **self._quality[index],
            }
            if state == "there" or (state == "missing" and self._settings.missing == "zero"):
                row |= self._scores(index, is_low=bool(row.get("low_quality")))
            else:
                for tracker in filter(None, (self._whole, self._low, self._at_point)):
                    tracker.gap()
            yield row

    def _scores(self, index: int, is_low: bool) -> Row:
        """Return the scores of a frame, and add them to the sums."""
        settings, truth, counts = self._settings, self._truth, self.result.counts
        mask = read_truth(truth, index)
        prediction = np.zeros(mask.shape, np.uint8)
        if self._maps.present[index]:
            prediction = match_size(read_grey(self._maps.map_path(index)), mask.shape)
        num_polyp = int(np.count_nonzero(mask))
        counts["polyp_frames"] += num_polyp > 0
        counts["full_masks"] += num_polyp == mask.size
        in_vps = settings.with_vps and not truth.is_polyp_free and is_scored(index, len(truth))
        scores = frame_scores(prediction, mask) if in_vps else None
        values = self._frame_metrics(index, prediction, mask)
        row: Row = {"scored": int(in_vps), "polyp_pixels": num_polyp, **values}
        self.result.whole.add(scores, values)
        if scores is not None:
            row |= summary(scores)
        if is_low:
            self.result.low.add(scores, values)
        if settings.with_clinical:
            row |= self._clinical(index, prediction, mask, is_low)
        if not is_low:
            self._low.gap()
        return row

    def _clinical(self, index: int, prediction: ByteArray, mask: BoolArray, is_low: bool) -> Row:
        try:
            outcome = self._whole.step(prediction, mask)
        except ValueError as error:
            raise FrameError(f"{self._truth.masks[index]}: {error}") from error
        if is_low:
            self._low.step(prediction, mask)
        if self._at_point and self.result.point:
            marked = self.result.point.mask(prediction)
            self._at_point.step(marked.astype(np.uint8) * np.uint8(255), mask)
        level = f"{self._settings.clinical.threshold:g}"
        return {
            "marked_pixels": outcome.num_marked,
            f"dice_at_{level}": outcome.dice,
            f"iou_at_{level}": outcome.iou,
            "detected": int(outcome.is_detected) if outcome.num_polyp else None,
            "false_positive": None if outcome.num_polyp else int(outcome.is_false_positive),
        }

    def _frame_metrics(self, index: int, prediction: ByteArray, mask: BoolArray) -> Row:
        """Return the frame metrics of a frame; FrameError if a function of theirs fails."""
        values: Row = {}
        for name, metric in self._settings.frame_metrics.items():
            try:
                value = metric.function(prediction, mask)
                values[name] = None if value is None or not np.isfinite(value) else float(value)
            except Exception as error:
                path = self._maps.map_path(index)
                raise FrameError(
                    f"metrics.{name} of {path}: {type(error).__name__}: {error}"
                ) from error
        return values


def quality_rows(clip: Clip, limits: QualityLimits, min_run: int) -> list[Row]:
    """Measure all frames of a clip, one in memory at a time.

    Returns:
        For each frame its measures, "broken_limits", and as "low_quality" whether it is in a run.
    """
    paths = clip.frames
    sampled = paths[:: -(-len(paths) // _VIEW_FRAMES)]
    view = field_of_view(read_frame(path)[0] for path in sampled)
    rows: list[Row] = []
    for path in paths:
        frame, _ = read_frame(path)
        if frame.shape[:2] != view.shape:
            raise FrameError(
                f"{path} has {frame.shape[1]} x {frame.shape[0]} pixels, the clip's first frame "
                f"{view.shape[1]} x {view.shape[0]}"
            )
        measure = frame_quality(frame, view if view.any() else None)
        broken = "+".join(limits.broken_by(measure))
        rows.append({**measure._asdict(), "broken_limits": broken, "low_quality": 0})
    for start, stop in consecutive_runs((bool(row["broken_limits"]) for row in rows), min_run):
        for row in rows[start:stop]:
            row["low_quality"] = 1
    return rows


def _run_rows(clip: Clip, runs: Runs) -> list[Row]:
    """Return for every frame of a clip, as "low_quality", whether it is in a run, and why."""
    number = {stem: index for index, stem in enumerate(clip.stems)}
    rows: list[Row] = [{"broken_limits": "", "low_quality": 0} for _ in number]
    for first, last, why in runs.get(clip.name, ()):
        for index in range(number[first], number[last] + 1):
            rows[index] = {"broken_limits": why, "low_quality": 1}
    return rows


def _fingerprint(maps: ClipMaps, settings: Settings, point: OperatingPoint | None) -> str:
    """Return a text that changes with any file of the clip and anything its scores depend on."""
    truth = maps.truth
    files = [path for path in truth.masks if path is not None]
    if truth.is_polyp_free or settings.quality:
        files += truth.frames
    if maps.folder.is_dir():
        files += visible(maps.folder)
    return state_of(files, f"{settings.clip_key} {point} {truth.frames_per_second}")
