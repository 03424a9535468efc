"""Scores of single frames, and how they become scores of clips and subsets.

A score of your own is one function and one entry in a configuration; it then appears in
frames.csv, clips.csv, metrics.json, tables, report and dashboards.
"""

import hashlib
import inspect
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np

from sali.metrics.counted_frame import BoolArray, ByteArray
from sali.metrics.scores import Direction, ScoreInfo

Function = Callable[[ByteArray, BoolArray], float | None]
LEVEL = 128
"""Lowest grey level of a map, probability x 255, whose probability is at least 0.5."""


@dataclass(frozen=True)
class FrameMetric:
    """One score of a map against its mask.

    Attributes:
        function: Takes a map, probability x 255 as uint8 [H, W], and a mask, bool [H, W]; returns
            a number, or None where the frame has no such score. Defined at the top level of a
            module, as processes import it by name.
        over: How frames are averaged: "clips" takes the mean over the frames of each clip first,
            "frames" that over all frames.
        direction: Which values are better, "higher", "lower" or "neither".
        format: Format specification of a value.
        meaning: One phrase for readers.
    """

    function: Function
    over: Literal["clips", "frames"] = "clips"
    direction: Direction = "higher"
    format: str = ".4f"
    meaning: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(f"function: got {self.function!r}, wanted a function of map and mask")
        if self.over not in ("clips", "frames"):
            raise ValueError(f"over: got {self.over!r}, wanted 'clips' or 'frames'")

    @property
    def info(self) -> ScoreInfo:
        """What whoever shows the score needs to know."""
        return ScoreInfo(self.direction, self.format, self.meaning)

    @property
    def identity(self) -> str:
        """Text that changes whenever the scores of a frame may: with arguments and source code."""
        inner = self.function
        while isinstance(inner, partial):
            inner = inner.func
        try:
            source = inspect.getsource(inner if inspect.isfunction(inner) else type(inner))
        except (OSError, TypeError):  # built in, or not written in Python
            source = ""
        return hashlib.sha256(pickle.dumps(self.function) + source.encode()).hexdigest()


def frame_dice(prediction: ByteArray, mask: BoolArray) -> float:
    """Return Dice at probability 0.5; 1 where neither map nor mask has a pixel."""
    overlap, marked, polyp = _overlap(prediction, mask)
    return 2 * overlap / (marked + polyp) if marked + polyp else 1.0


def frame_iou(prediction: ByteArray, mask: BoolArray) -> float:
    """Return IoU at probability 0.5; 1 where neither map nor mask has a pixel."""
    overlap, marked, polyp = _overlap(prediction, mask)
    return overlap / (marked + polyp - overlap) if marked + polyp else 1.0


def frame_mae(prediction: ByteArray, mask: BoolArray) -> float:
    """Return the mean absolute error of the probability, without stretching the map."""
    truth = mask.astype(np.uint8) * np.uint8(255)
    return cv2.norm(prediction, truth, cv2.NORM_L1) / 255 / mask.size  # a sum of bytes, exact


def _overlap(prediction: ByteArray, mask: BoolArray) -> tuple[int, int, int]:
    marked = prediction >= LEVEL
    overlap = int(np.count_nonzero(marked & mask))
    return overlap, int(np.count_nonzero(marked)), int(np.count_nonzero(mask))


FRAME_METRICS: Mapping[str, FrameMetric] = {
    "frame_dice_at_0.5": FrameMetric(frame_dice, "frames"),
    "frame_iou_at_0.5": FrameMetric(frame_iou, "frames"),
    "frame_mae": FrameMetric(frame_mae, "frames"),
}
"""Scores that validations during training have too; `sali.metrics.scores` describes them."""
