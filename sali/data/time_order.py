"""Order of frames in time, as far as it shows in how close consecutive frames are."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from sali.data.frames import read_frame, resize_frame

log = logging.getLogger(__name__)

_THUMBNAIL = 32
"""Side in pixels at which frames are compared."""


class Order(NamedTuple):
    """The place in the listing of each frame in time, and how much closer frames get by it.

    The numbers before the frames were numbered anew began with `first` and had a step, which is 0
    for the order of the listing; the gain is a share of the distances there.
    """

    order: tuple[int, ...]
    first: int
    step: int
    gain: float

    def __str__(self) -> str:
        return (
            f"in the order of numbers {self.first}, {self.first + self.step} ... that a listing "
            f"sorted as text, consecutive frames are {100 * self.gain:.0f} % closer"
        )


def number_step(frames: Sequence[Path]) -> float:
    """Return the median step between the last numbers in the names of frames; 0 without any."""
    numbers = [int(found[-1]) for path in frames if (found := re.findall(r"\d+", path.stem))]
    return float(np.median(np.abs(np.diff(numbers)))) if len(numbers) > 1 else 0


def time_order(
    listed: Sequence[Path], max_first: int, max_step: int, min_gain: float
) -> tuple[list[Path], float]:
    """Return frames in order of time that were numbered as a listing sorted their names.

    The order is that of `closest_order`, if frames get closer by the share `min_gain`.

    Returns:
        The frames, and the step; as they were, and 0, where no order brings them closer.
    """
    found = closest_order(listed, max_first, max_step)
    if found.gain < min_gain:
        log.warning("%s: kept as it is numbered: %s", listed[0].parent, found)
        return list(listed), 0
    log.info("%s: put in order: %s", listed[0].parent, found)
    return [listed[place] for place in found.order], found.step


def closest_order(listed: Sequence[Path], max_first: int, max_step: int) -> Order:
    """Return the order that brings consecutive frames closest.

    Some copies number frames from 0 in the order in which strings sort: 0, 10, 100, 15, 5 ... The
    original numbers are taken to be first, first + step, ...; all first numbers and steps up to
    the largest are tried. How much closer the frames get says how certain the order is; frames a
    second apart may be as close in any order.
    """
    thumbnails = [resize_frame(read_frame(path, near=_THUMBNAIL)[0], _THUMBNAIL) for path in listed]
    flat = np.stack(thumbnails).reshape(len(listed), -1).astype(np.float32)
    distances = cdist(flat, flat, "cityblock")
    tried: dict[tuple[int, ...], tuple[int, int]] = {tuple(range(len(listed))): (0, 0)}
    for step in range(1, max_step + 1):
        for first in range(max_first + 1):
            tried.setdefault(places(len(listed), first, step), (first, step))
    lengths = {order: distances[order[:-1], order[1:]].sum() for order in tried}
    as_listed, *_ = lengths.values()
    best = min(lengths, key=lengths.__getitem__)
    gain = 1 - lengths[best] / as_listed if as_listed else 0.0
    return Order(best, *tried[best], gain)


def places(count: int, first: int, step: int) -> tuple[int, ...]:
    """Return the place of each number first, first + step, ... in a listing sorted as strings."""
    listing = sorted(range(count), key=lambda i: str(first + i * step))
    return tuple(np.argsort(listing).tolist())
