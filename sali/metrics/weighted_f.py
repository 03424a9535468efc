"""Weighted F-measure: errors weighted by where they lie.

The measure needs two things at different ranges, which keeps the work off most of the image:
the nearest foreground pixel within 3 pixels of the foreground (for the 7 x 7 filter, whose
result counts on the foreground only), and the distance to the foreground where the background
is marked (for a weight that no longer depends on it 160 pixels away).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from sali.metrics.counted_frame import BoolArray, CountedFrame, FloatArray

_EPS = np.spacing(1.0)
_RADIUS = 3
_SIGMA = 5.0
_DECAY = np.log(0.5) / 5
# The weight is 2 - 2^(-d / 5). Beyond this distance the second term is taken as 0, which
# changes the sum of weighted false positives by less than 2^-32 of itself.
_REACH = 160
_BAND = 1 << 14

_TAPS = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1, dtype=np.float64) ** 2) / (2 * _SIGMA**2))
_TAPS /= _TAPS.sum()

Box = tuple[slice, slice]


def _search_offsets() -> list[tuple[int, int]]:
    """Row and column offsets to look for the nearest foreground pixel, best first.

    A background pixel within `_RADIUS` rows and columns of the foreground has a foreground
    pixel within sqrt(2) x `_RADIUS`. Of pixels at equal distance the leftmost counts, then the
    upper one: the choice of a separable transform that scans columns first, then rows, which
    the reference implementations use. The choice changes the score.
    """
    reach = int(np.sqrt(2) * _RADIUS)
    span = range(-reach, reach + 1)
    offsets = [(dy, dx) for dy in span for dx in span if 0 < dy**2 + dx**2 <= 2 * _RADIUS**2]
    return sorted(offsets, key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, *offset[::-1]))


_OFFSETS = _search_offsets()
_PADDING = max(abs(dy) for dy, _ in _OFFSETS)


def weighted_f(frame: CountedFrame) -> float:
    """Weighted F-measure with beta^2 = 1 (Margolin et al., CVPR 2014).

    As in the VPS toolbox protocol: Gaussian of 7 x 7 pixels with sigma 5, zero beyond the
    border, weights by the Euclidean distance to the ground truth, and 0 for an empty one.
    """
    num_foreground = frame.num_foreground
    if num_foreground == 0:
        return 0.0
    error = _foreground_error(frame)
    true_positive = num_foreground - error
    recall = 1 - error / num_foreground
    precision = true_positive / (true_positive + _background_error(frame) + _EPS)
    return float(2 * recall * precision / (recall + precision + _EPS))


def _foreground_error(frame: CountedFrame) -> float:
    """Sum over the foreground of the error or the filtered error, whichever is smaller."""
    box = _grow(_bounding_box(frame.mask), _RADIUS, frame.mask.shape)
    mask = frame.mask[box]
    error = np.asarray(cv2.LUT(frame.prediction[box], 1 - frame.values), np.float64)
    spread = _spread_to_neighbours(error, mask)
    filtered = cv2.sepFilter2D(spread, -1, _TAPS, _TAPS, borderType=cv2.BORDER_CONSTANT)
    return float(np.minimum(error, filtered)[mask].sum())


def _spread_to_neighbours(error: FloatArray, mask: BoolArray) -> FloatArray:
    """Give background pixels near the foreground the error of their nearest foreground pixel.

    All arrays are [h, w]; the result is 0 further than `_RADIUS` rows or columns from it.
    """
    inside = (slice(_PADDING, -_PADDING),) * 2
    padded_mask, padded_error = np.pad(mask, _PADDING), np.pad(error * mask, _PADDING)
    kernel = np.ones((2 * _RADIUS + 1,) * 2, np.uint8)
    near = np.zeros_like(padded_mask)
    near[inside] = cv2.dilate(mask.view(np.uint8), kernel).view(np.bool_) & ~mask

    is_foreground, values = padded_mask.ravel(), padded_error.ravel()
    searching = np.flatnonzero(near)
    for dy, dx in _OFFSETS:
        if not searching.size:
            break
        neighbours = searching + (dy * padded_mask.shape[1] + dx)
        found = is_foreground[neighbours]
        values[searching[found]] = values[neighbours[found]]
        searching = searching[~found]
    return padded_error[inside]


def _background_error(frame: CountedFrame) -> float:
    """Sum over the background of value x (2 - 2^(-distance / 5))."""
    background, foreground = frame.counts @ frame.values
    if background == 0:
        return 0.0
    foreground_box = _bounding_box(frame.mask)
    lowest_marked_level = np.searchsorted(frame.values, 0, side="right")
    marked_box = _bounding_box(frame.prediction >= lowest_marked_level)
    reach = _grow(foreground_box, _REACH, frame.mask.shape)
    rows, columns = (
        slice(max(min(f.start, m.start), r.start), min(max(f.stop, m.stop), r.stop))
        for f, m, r in zip(foreground_box, marked_box, reach, strict=True)
    )
    box = rows, columns
    # Distances within the box are those within the image: all of the foreground is inside.
    outside = (~frame.mask[box]).view(np.uint8)
    distance = np.asarray(
        cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32
    )
    values = np.asarray(cv2.LUT(frame.prediction[box], frame.values), np.float64)
    # The foreground, at distance 0, is part of the product and taken out again.
    discount = _discounted_sum(values, distance) - foreground
    return float(2 * background - discount)


def _discounted_sum(values: FloatArray, distance: NDArray[np.float32]) -> float:
    """Sum of value x 2^(-distance / 5), both [h, w], in bands of rows that stay in the cache."""
    total = 0.0
    num_rows = max(1, _BAND // values.shape[1])
    for start in range(0, values.shape[0], num_rows):
        rows = slice(start, start + num_rows)
        # OpenCV computes in float32. Squared distances are whole numbers: rounding restores them.
        weight = np.square(distance[rows], dtype=np.float64)
        np.sqrt(np.rint(weight, out=weight), out=weight)
        weight *= _DECAY
        np.exp(weight, out=weight)
        weight *= values[rows]
        # Not a dot product: BLAS would start threads, which worker processes pay for dearly.
        total += float(weight.sum())
    return total


def _bounding_box(mask: BoolArray) -> Box:
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def _grow(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    rows, columns = (
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size in zip(box, shape, strict=True)
    )
    return rows, columns
