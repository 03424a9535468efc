"""Lesions of a frame, and which of them are the same from frame to frame.

A lesion is a connected area (8 neighbours) of pixels at or above the threshold with at least
``min_area`` of them. A track is a lesion through time, known by its last box:

1. A track can be taken up by a lesion whose box overlaps its last one by at least ``min_iou``
   (intersection over union), if it was missing for at most ``max_gap`` frames.
2. Every track takes up at most one lesion and the other way round; of all such pairings the one
   with the largest sum of overlaps counts.
3. A lesion that no track took up begins a track, with the next number.

So of a lesion that splits the part that overlaps best keeps the number; two that merge go on as the
one that overlaps best, and the other comes back under its own number if they part within the gap.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from sali.errors import ConfigError

Box = tuple[int, int, int, int]
"""(x, y, width, height) in pixels."""


class Lesion(NamedTuple):
    """A connected area of one frame."""

    area: int
    """Pixels."""
    box: Box
    peak: float
    """Largest probability in it."""


def find_lesions(probability: np.ndarray, threshold: float, min_area: int) -> list[Lesion]:
    """Lesions of a float32 probability [H, W], from top to bottom by their first pixel."""
    mask = (probability >= threshold).view(np.uint8)
    count, labels, rows, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in rows[label])
        if area < min_area:
            continue
        window = np.s_[y : y + height, x : x + width]
        peak = float(probability[window][labels[window] == label].max())
        first = int(np.flatnonzero(labels[y] == label)[0])
        found.append((y, first, Lesion(area, (x, y, width, height), peak)))
    return [lesion for *_, lesion in sorted(found, key=lambda one: one[:2])]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


@dataclass
class _Track:
    number: int
    box: Box
    last_frame: int


class Tracker:
    """Gives the lesions of one clip the numbers of their tracks, from 1.

    Args:
        min_iou: overlap from which on two boxes may be of one lesion, above 0.
        max_gap: frames that a track may miss; 0 for none.

    Raises:
        ConfigError: numbers that mean nothing.
    """

    def __init__(self, min_iou: float, max_gap: int) -> None:
        if not 0 < min_iou <= 1:
            raise ConfigError(f"tracks.min_iou is {min_iou}; wanted above 0, at most 1")
        if max_gap < 0:
            raise ConfigError(f"tracks.max_gap is {max_gap}; wanted frames, 0 or more")
        self._min_iou = min_iou
        self._max_gap = max_gap
        self._tracks: list[_Track] = []
        self._begun = 0

    def step(self, frame: int, boxes: list[Box]) -> list[int]:
        """Track of every box.

        Args:
            frame: its number; frames that were left out count as missed.
            boxes: of the frame's lesions.
        """
        self._tracks = [t for t in self._tracks if frame - t.last_frame - 1 <= self._max_gap]
        overlaps = np.array([[overlap(t.box, box) for box in boxes] for t in self._tracks])
        taken: dict[int, _Track] = {}
        if overlaps.size:
            allowed = np.where(overlaps >= self._min_iou, overlaps, 0)
            for row, column in zip(*linear_sum_assignment(allowed, maximize=True), strict=True):
                if allowed[row, column] > 0:
                    taken[int(column)] = self._tracks[row]
        numbers = []
        for index, box in enumerate(boxes):
            track = taken.get(index)
            if track is None:
                self._begun += 1
                track = _Track(self._begun, box, frame)
                self._tracks.append(track)
            track.box, track.last_frame = box, frame
            numbers.append(track.number)
        return numbers

    def state(self) -> dict[str, Any]:
        """Plain numbers for ``load_state``."""
        return {"begun": self._begun, "tracks": [list(vars(t).values()) for t in self._tracks]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on as the tracker would whose ``state`` it is."""
        self._begun = state["begun"]
        self._tracks = [_Track(n, tuple(box), last) for n, box, last in state["tracks"]]
