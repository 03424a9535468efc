"""Speed of the last frames."""

import statistics
from collections import deque
from typing import NamedTuple

import numpy as np


class Speed(NamedTuple):
    """Of the last frames.

    Attributes:
        rate: frames per second.
        mean: milliseconds from a frame to its mask.
        high: the same, of which 95 % stay below.
    """

    rate: float
    mean: float
    high: float


class Meter:
    """Keeps the times of the last frames.

    Args:
        frames: how many.
    """

    def __init__(self, frames: int) -> None:
        self._ends: deque[float] = deque(maxlen=frames)
        self._latencies: deque[float] = deque(maxlen=frames)

    def count(self, start: float, end: float) -> None:
        """A frame was there from ``start`` on, its mask at ``end``, seconds on one clock."""
        self._ends.append(end)
        self._latencies.append(end - start)

    def pause(self) -> None:
        """What follows is not compared with what was before."""
        self._ends.clear()

    def speed(self) -> Speed | None:
        """None before the second frame."""
        if len(self._ends) < 2:
            return None
        span = self._ends[-1] - self._ends[0]
        return Speed(
            (len(self._ends) - 1) / max(span, 1e-9),
            1000 * statistics.fmean(self._latencies),
            1000 * float(np.quantile(self._latencies, 0.95)),
        )
