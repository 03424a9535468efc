"""One frame, counted once: how many pixels have which grey level, by ground truth and quadrant.

A map has 256 grey levels, so every score that does not depend on positions follows from a
table of 2 x 256 counts. The structure measure needs the same table for four quadrants, whose
sum is the table of the frame; hence quadrants are what is counted.
"""

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
        split: Number of rows above and of columns left of the cut through the centroid.
        quadrants: Counts [4, 2, 256] of (top left, top right, bottom left, bottom right) x
            (background, foreground) x grey level.
        counts: The same for the whole frame, [2, 256].
        values: Normalised value of each grey level, [256]; increasing. Levels that the frame
            does not contain may lie outside [0, 1].
    """

    prediction: ByteArray
    mask: BoolArray
    split: tuple[int, int]
    quadrants: IntArray
    counts: IntArray
    values: FloatArray

    @classmethod
    def count(cls, prediction: ByteArray, mask: NDArray[np.bool_ | np.uint8]) -> Self:
        """Count a frame.

        Args:
            prediction: Grey levels, uint8 [H, W].
            mask: Bool [H, W], or uint8 [H, W] in which more than 128 is foreground.

        Raises:
            ValueError: If the type or the shape of an array is not as stated.
        """
        foreground = as_mask(mask)
        check_map(prediction, foreground.shape)
        prediction = np.ascontiguousarray(prediction)
        split = _centroid_split(foreground)
        parts = quadrant_slices(split)
        quadrants = np.stack([joint_counts(prediction[part], foreground[part]) for part in parts])
        counts = quadrants.sum(axis=0)
        return cls(prediction, foreground, split, quadrants, counts, normalised_values(counts))

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
    """Count pixels by ground truth and grey level.

    Args:
        prediction: Uint8 [H, W].
        mask: Bool [H, W].

    Returns:
        [2, 256]: background in row 0, foreground in row 1.
    """
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
    equals the normalised pixel bit by bit. Constant maps are only divided by 255.

    Args:
        counts: [2, 256] as from `joint_counts`; tells the lowest and the highest level.

    Returns:
        [256], increasing.
    """
    values = np.arange(NUM_LEVELS) / 255
    present = np.flatnonzero(counts.sum(axis=0))
    low, high = values[present[0]], values[present[-1]]
    return values if low == high else (values - low) / (high - low)


def row_and_column_sums(mask: BoolArray) -> tuple[IntArray, IntArray]:
    """Count the foreground of each row [H] and of each column [W] of a mask [H, W]."""
    pixels = mask.view(np.uint8)
    per_row = cv2.reduce(pixels, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    per_column = cv2.reduce(pixels, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    return per_row.astype(np.int64), per_column.astype(np.int64)


def _centroid_split(mask: BoolArray) -> tuple[int, int]:
    """Return (rows, columns) up to and including the centroid, or the image's half if empty."""
    per_row, per_column = row_and_column_sums(mask)
    area = int(per_row.sum())
    if not area:
        return round(mask.shape[0] / 2) + 1, round(mask.shape[1] / 2) + 1
    # Python's round, like NumPy's, rounds halves to even.
    row, column = (round(int(sums @ np.arange(sums.size)) / area) for sums in (per_row, per_column))
    return row + 1, column + 1


def quadrant_slices(split: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Return the four quadrants of an image cut after `split` = (rows, columns)."""
    row, column = split
    vertical, horizontal = (
        (slice(0, row), slice(row, None)),
        (slice(0, column), slice(column, None)),
    )
    return [(rows, columns) for rows in vertical for columns in horizontal]
