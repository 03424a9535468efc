"""One frame, counted once: how many pixels have which grey level, by ground truth and quadrant.

A map has 256 grey levels, so every score that does not depend on positions follows from a
table of 2 x 256 counts. The structure measure needs the same table for four quadrants, whose
sum is the table of the frame; hence quadrants are what is counted.
"""

import itertools
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]

NUM_LEVELS = 256
# OpenCV returns counts as float32, which holds whole numbers up to 2^24.
_MAX_PIXELS_PER_COUNT = 1 << 24


@dataclass(frozen=True)
class CountedFrame:
    """A prediction, its ground truth and their counts.

    Attributes:
        prediction: Grey levels, uint8 [H, W].
        mask: Ground truth, bool [H, W].
        parts: Rows and columns of the quadrants (top left, top right, bottom left, bottom right)
            on either side of the centroid.
        quadrants: Counts [4, 2, 256] of quadrant x (background, foreground) x grey level.
        counts: The same for the whole frame, [2, 256].
        values: Normalised value of each grey level, [256]; increasing. Levels that the frame
            does not contain may lie outside [0, 1].
    """

    prediction: ByteArray
    mask: BoolArray
    parts: list[tuple[slice, slice]]
    quadrants: IntArray
    counts: IntArray
    values: FloatArray

    @classmethod
    def count(cls, prediction: ByteArray, mask: NDArray[np.bool_ | np.uint8]) -> Self:
        """Count a frame; arguments as of `check_map` and `as_mask`, which refuse others."""
        foreground = as_mask(mask)
        check_map(prediction, foreground.shape)
        prediction = np.ascontiguousarray(prediction)
        row, column = centroid(foreground)
        cuts = round(row) + 1, round(column) + 1
        vertical, horizontal = ((slice(0, cut), slice(cut, None)) for cut in cuts)
        parts = list(itertools.product(vertical, horizontal))
        quadrants = np.stack([joint_counts(prediction[part], foreground[part]) for part in parts])
        counts = quadrants.sum(axis=0)
        return cls(prediction, foreground, parts, quadrants, counts, normalised_values(counts))

    @property
    def num_pixels(self) -> int:
        """H x W."""
        return self.mask.size

    @property
    def num_foreground(self) -> int:
        """Foreground pixels of the ground truth."""
        return int(self.counts[1].sum())


def as_mask(mask: NDArray[np.bool_ | np.uint8]) -> BoolArray:
    """Return a ground truth as bool [H, W]; of uint8 masks, more than 128 is foreground.

    Raises:
        ValueError: For other types or numbers of dimensions, and for uint8 masks that hold
            0 and 1, which the rule would silently turn into an empty ground truth.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size or mask.dtype not in (np.bool_, np.uint8):
        raise ValueError(
            f"ground truth: got {mask.dtype} {mask.shape}, wanted non-empty bool or uint8 [H, W]; "
            "read it as 8-bit grey"
        )
    if mask.dtype == np.uint8:
        if mask.max() == 1:
            raise ValueError(
                "ground truth: got a uint8 mask of 0 and 1, wanted 0 and 255 or bool; "
                "use mask.astype(bool)"
            )
        mask = mask > 128
    return np.ascontiguousarray(mask, dtype=np.bool_)


def check_map(prediction: ByteArray, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `prediction` is a uint8 map of the given shape."""
    if prediction.dtype != np.uint8 or prediction.shape != shape:
        raise ValueError(
            f"map: got {prediction.dtype} {prediction.shape}, wanted uint8 {shape}; "
            "round probability x 255 and resize the map to its ground truth"
        )


def joint_counts(prediction: ByteArray, mask: BoolArray) -> IntArray:
    """Count the pixels of a map and its mask [H, W] by ground truth and grey level, [2, 256]."""
    counts = np.zeros((2, NUM_LEVELS), np.int64)
    if not prediction.size:
        return counts
    rows_per_count = max(1, _MAX_PIXELS_PER_COUNT // prediction.shape[1])
    for start in range(0, prediction.shape[0], rows_per_count):
        rows = slice(start, start + rows_per_count)
        images = [prediction[rows], mask[rows].view(np.uint8)]
        found = cv2.calcHist(images, [0, 1], None, [NUM_LEVELS, 2], [0, NUM_LEVELS, 0, 2])
        counts += found.T.astype(np.int64)
    return counts


def normalised_values(counts: IntArray) -> FloatArray:
    """Return the value of each grey level after division by 255 and min-max normalisation.

    The operations and their order are those that a map itself would undergo, so that a value
    equals the normalised pixel bit by bit. Constant maps are only divided by 255. The counts
    [2, 256] tell the lowest and the highest level; values [256] increase.
    """
    values = np.arange(NUM_LEVELS) / 255
    present = np.flatnonzero(counts.sum(axis=0))
    low, high = values[present[0]], values[present[-1]]
    return values if low == high else (values - low) / (high - low)


def centroid(mask: BoolArray) -> tuple[float, float]:
    """Return row and column of the centre of a mask [H, W]; the image's half if it is empty."""
    # An eighth of the time of cv2.moments.
    sums = [
        cv2.reduce(mask.view(np.uint8), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        for axis in (1, 0)
    ]
    area = int(sums[0].sum())
    if not area:
        return mask.shape[0] / 2, mask.shape[1] / 2
    row, column = (int(one @ np.arange(one.size)) / area for one in sums)
    return row, column
