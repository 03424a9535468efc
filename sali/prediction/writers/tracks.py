"""Lesions of a frame, which of them are the same from frame to frame, and their table.

A lesion is a connected area (8 neighbours) of the mask with at least `min_area`
pixels. A track is a lesion through time, known by its last box:

1. A lesion may continue a track if its box overlaps the track's last one by at least `min_iou`
   (intersection over union), and the track was missing for at most `max_gap` frames.
2. A track is continued by at most one lesion, and a lesion continues at most one track; of all such
   pairings the one with the largest sum of overlaps counts.
3. A lesion that continues no track begins one, with the next number.

So when a lesion splits, the part that overlaps best keeps the number; when two merge, the one that
overlaps best continues, and the other returns under its own number if they part within the gap.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sali.metrics.operating_point import OperatingPoint
from sali.prediction.result import ClipWriter, Result, is_own
from sali.prediction.sources import Source
from sali.prediction.writers.tables import Box, TextFile, csv_text, find_lesions, in_seconds

COLUMNS = ("frame", "time", "track", "area", "x", "y", "width", "height", "peak")


def track_tables(
    root: Path, point: OperatingPoint, min_area: int, min_iou: float, max_gap: int
) -> ClipWriter:
    """Return a writer of `<clip>.tracks.csv`, a row for each lesion of a frame; see `Tracker`."""

    def begin(clip: Source, saved: dict[str, Any] | None) -> TextFile:
        tracker = Tracker(min_iou, max_gap)
        if saved is not None:
            tracker.load_state(saved)

        def rows(result: Result) -> str:
            lesions = find_lesions(result.probability, point, min_area)
            numbers = tracker.step(result.frame.number, [lesion.box for lesion in lesions])
            when = result.stem, in_seconds(result.time)
            return csv_text(
                *(
                    [*when, number, lesion.area, *lesion.box, f"{lesion.peak:.4f}"]
                    for number, lesion in zip(numbers, lesions, strict=True)
                )
            )

        final = root / f"{clip.name}.tracks.csv"
        return TextFile(final, saved, rows, csv_text(COLUMNS), state=tracker.state)

    return ClipWriter(
        root, begin, suffix=".tracks.csv", knows=lambda path: is_own(path, csv_text(COLUMNS))
    )


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


class Tracker:
    """Numbers of the tracks of one clip, from 1.

    Args:
        min_iou: Overlap from which on two boxes may be of one lesion, above 0.
        max_gap: Frames that a track may miss; 0 for none.
    """

    def __init__(self, min_iou: float, max_gap: int) -> None:
        self._min_iou, self._max_gap = min_iou, max_gap
        self._tracks: dict[int, tuple[Box, int]] = {}  # last box and last frame, by number
        self._begun = 0

    def step(self, frame: int, boxes: list[Box]) -> list[int]:
        """Return the number of the track of every box; frames left out count as missed."""
        from scipy.optimize import linear_sum_assignment

        self._tracks = {
            number: (box, last)
            for number, (box, last) in self._tracks.items()
            if frame - last - 1 <= self._max_gap
        }
        known = list(self._tracks)
        overlaps = np.array([[overlap(self._tracks[n][0], box) for box in boxes] for n in known])
        numbers = [0] * len(boxes)
        if overlaps.size:
            allowed = np.where(overlaps >= self._min_iou, overlaps, 0)
            for row, column in zip(*linear_sum_assignment(allowed, maximize=True), strict=True):
                if allowed[row, column] > 0:
                    numbers[column] = known[row]
        for index, box in enumerate(boxes):
            if not numbers[index]:
                self._begun += 1
                numbers[index] = self._begun
            self._tracks[numbers[index]] = box, frame
        return numbers

    def state(self) -> dict[str, Any]:
        """Return plain numbers for `load_state`."""
        return {"begun": self._begun, "tracks": dict(self._tracks)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from the `state` of another tracker."""
        self._begun = state["begun"]
        self._tracks = dict(state["tracks"])
