"""Small pictures of past frames, and where a result read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from sali.data.frames import read_frame
from sali.data.index import Clip
from sali.prediction import Result

HEAT_STRENGTH = 0.75


@dataclass(frozen=True)
class PastFrame:
    """A frame that the memory may hold.

    Attributes:
        number: Number in its clip, from 0.
        time: Seconds; None for frames in files.
        picture: Small picture, RGB uint8 [h, w, 3], or the file that it can be read from.
    """

    number: int
    time: float | None
    picture: np.ndarray | Path


class Album:
    """Small pictures of the frames that the memory of one run holds.

    Args:
        width: Width of a picture, pixels.
        most: Largest number of pictures.
    """

    def __init__(self, width: int, most: int) -> None:
        self._width, self._most = width, most
        self._past: dict[int, PastFrame] = {}

    def add(self, index: int, result: Result) -> None:
        """Take a segmented frame, under the index by which the memory knows it."""
        number, source = result.frame.number, result.source
        picture: np.ndarray | Path
        if isinstance(source, Clip):
            picture = source.frames[number]
        else:
            picture = shrink(result.picture, self._width)
        self._past[index] = PastFrame(number, result.time, picture)

    def most_read(
        self, shares: Mapping[int, np.ndarray], now: int, count: int
    ) -> list[tuple[PastFrame, float, np.ndarray]]:
        """Return (frame, share, picture) of the past frames that a result read most, in order.

        The picture of each shows heat where it was read. Frames that the memory does not hold any
        more are forgotten.

        Args:
            shares: {index of a past frame: share of the read [h, w]}.
            now: Index of the result.
            count: Largest number of frames.
        """
        total = {i: float(share.sum()) for i, share in shares.items()}
        known = sorted((i for i in total if i in self._past), key=lambda i: (-total[i], -i))
        for index in [i for i in list(self._past) if i < now and i not in total]:
            del self._past[index]
        for index in known[self._most :]:
            del self._past[index]
        return [
            (self._past[index], total[index], heat(self._picture(index), shares[index]))
            for index in known[:count]
            if total[index]
        ]

    def _picture(self, index: int) -> np.ndarray:
        past = self._past[index]
        if isinstance(past.picture, Path):
            picture, _ = read_frame(past.picture, near=self._width)
            past = self._past[index] = replace(past, picture=shrink(picture, self._width))
        assert isinstance(past.picture, np.ndarray)
        return past.picture


def shrink(picture: np.ndarray, width: int) -> np.ndarray:
    """Return a picture RGB uint8 [H, W, 3] at most `width` pixels wide."""
    if picture.shape[1] <= width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    step = max(1, picture.shape[1] // (2 * width))  # a mean of all pixels takes ten times as long
    return cv2.resize(picture[::step, ::step], (width, height))


def heat(picture: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return a grey picture with colours where it was read, from its own largest share down.

    Args:
        picture: RGB uint8 [h, w, 3].
        share: Share of the read on any grid [H, W], not negative.
    """
    level = cv2.resize(share.astype(np.float32), picture.shape[1::-1])
    level = level / max(float(level.max()), 1e-12)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    strength = HEAT_STRENGTH * level[..., None]
    return (grey * (1 - strength) + colours * strength).astype(np.uint8)
