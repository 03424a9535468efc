"""Structure measure, from the counts of four quadrants."""

import cv2
import numpy as np

from sali.metrics.counted_frame import CountedFrame, FloatArray, IntArray

_EPS = np.spacing(1.0)
_ALPHA = 0.5


def s_measure(frame: CountedFrame) -> float:
    """Structure measure with alpha = 0.5 (Fan et al., ICCV 2017).

    As in the VPS toolbox protocol: an empty ground truth scores 1 - mean, a full one the mean
    of the map. Variances divide by n - 1; where one is asked of a single pixel or of none (one
    pixel of foreground or background, or a quadrant of at most one pixel because the ground
    truth hugs the last row or column), the toolbox meets 0 / 0 and its maximum with 0 makes the
    score 0. We return that 0 on purpose, so that the same maps give the same number.
    """
    mean_prediction = float(frame.counts.sum(axis=0) @ frame.values) / frame.num_pixels
    num_foreground = frame.num_foreground
    if num_foreground == 0:
        return 1 - mean_prediction
    if num_foreground == frame.num_pixels:
        return mean_prediction
    areas = frame.quadrants.sum(axis=(1, 2))
    if min(num_foreground, frame.num_pixels - num_foreground, areas.min()) < 2:
        return 0.0
    # Similarity of the values within the foreground and within the background (section 3.2).
    share = num_foreground / frame.num_pixels
    foreground = _uniformity(frame.counts[1], frame.values)
    background = _uniformity(frame.counts[0], 1 - frame.values)
    object_score = share * foreground + (1 - share) * background
    return max(0.0, _ALPHA * object_score + (1 - _ALPHA) * _region_score(frame))


def _uniformity(counts: IntArray, values: FloatArray) -> float:
    """High where values [256], counted by `counts` [256], are near 1 and alike."""
    size = counts.sum()
    mean = counts @ values / size
    deviation = np.sqrt(counts @ (values - mean) ** 2 / (size - 1))
    return float(2 * mean / (mean**2 + 1 + deviation + _EPS))


def _region_score(frame: CountedFrame) -> float:
    """Structural similarity of the quadrants, weighted by area (section 3.1)."""
    score = 0.0
    for counts, quadrant in zip(frame.quadrants, frame.parts, strict=True):
        similarity = _quadrant_similarity(counts, frame, quadrant)
        score += counts.sum() / frame.num_pixels * similarity
    return float(score)


def _quadrant_similarity(
    counts: IntArray, frame: CountedFrame, quadrant: tuple[slice, slice]
) -> float:
    """Structural similarity of the map and the ground truth within one quadrant.

    Counts [2, 256] are of the quadrant; one case needs its pixels.
    """
    values, totals = frame.values, counts.sum(axis=0)
    size, foreground = totals.sum(), counts[1].sum()
    if np.count_nonzero(totals) == 1:
        # A constant quadrant scores 1 or 0 by whether its variance is exactly 0, that is by
        # whether the rounded mean equals the value. Only the sum over its pixels tells.
        mean = np.mean(cv2.LUT(frame.prediction, values)[quadrant])
    else:
        mean = totals @ values / size
    truth_mean = foreground / size
    deviations = values - mean
    variance = totals @ deviations**2 / (size - 1)
    truth_variance = foreground * (1 - truth_mean) / (size - 1)
    covariance = (counts[1] @ deviations - truth_mean * (totals @ deviations)) / (size - 1)

    numerator = 4 * mean * truth_mean * covariance
    denominator = (mean**2 + truth_mean**2) * (variance + truth_variance)
    if numerator != 0:
        return float(numerator / (denominator + _EPS))
    return 1.0 if denominator == 0 else 0.0
