"""Confusion counts over thresholds, and the scores that follow from them alone."""

from typing import NamedTuple

import cv2
import numpy as np

from sali.metrics.counted_frame import CountedFrame, FloatArray, IntArray

NUM_THRESHOLDS = 256
F_BETA_SQUARED = 0.3
_EPS = np.spacing(1.0)
# Far above the rounding of a mean over an image, far below the distance of two grey levels.
_TIE = 1e-9


class Confusion(NamedTuple):
    """Pixel counts, scalars or [K] over thresholds."""

    true_positive: IntArray
    false_positive: IntArray
    false_negative: IntArray
    true_negative: IntArray


def confusion_at(counts: IntArray, values: FloatArray, thresholds: FloatArray) -> Confusion:
    """Count the pixels on either side of each threshold; `value >= threshold` is foreground.

    The thresholds are compared with the exact values. Binning the values to 8 bits first would
    put 66 of the 256 grey levels on the wrong side of one of `linspace(1, 0, 256)`.

    Args:
        counts: [2, 256], background and foreground by grey level.
        values: [256], value of each grey level, not decreasing.
        thresholds: [K], or a scalar.

    Returns:
        Four counts of the shape of `thresholds`.
    """
    at_least = np.zeros((2, counts.shape[1] + 1), np.int64)
    at_least[:, :-1] = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    first_level = np.searchsorted(values, thresholds, side="left")
    false_positive, true_positive = at_least[:, first_level]
    num_background, num_foreground = at_least[:, 0]
    return Confusion(
        true_positive,
        false_positive,
        num_foreground - true_positive,
        num_background - false_positive,
    )


def overlap_curves(confusion: Confusion) -> FloatArray:
    """Sensitivity, specificity, Dice and IoU at each threshold.

    Two rules of the VPS toolbox protocol: without a true positive all four are 0, specificity
    included. One rule of ours: where the ground truth fills the image there is no background
    to mark wrongly and specificity is 1 (with a true positive); the toolbox has 0 / 0 there,
    and the NaN spreads to the score of the whole data set.

    Returns:
        [4, K] in the order above, of counts [K].
    """
    tp, fp, fn, tn = confusion
    hit = tp > 0
    ratios = (
        (tp, tp + fn),
        (np.where(tn + fp > 0, tn, 1), np.maximum(tn + fp, 1)),
        (2 * tp, 2 * tp + fp + fn),
        (tp, tp + fp + fn),
    )
    curves = np.zeros((4, *tp.shape))
    for curve, (numerator, denominator) in zip(curves, ratios, strict=True):
        np.divide(numerator, denominator, out=curve, where=hit)
    return curves


def f_measure(confusion: Confusion) -> FloatArray:
    """F-measure with beta^2 = 0.3 (Achanta et al., CVPR 2009); 0 without a true positive."""
    tp, fp, fn, _ = confusion
    # With precision tp / (tp + fp) and recall tp / (tp + fn), the F-measure is this one ratio.
    numerator = (1 + F_BETA_SQUARED) * tp
    denominator = F_BETA_SQUARED * (tp + fn) + (tp + fp)
    return np.asarray(numerator / np.maximum(denominator, 1), np.float64)


def adaptive_threshold(frame: CountedFrame) -> float:
    """Return twice the mean of the normalised map, at most 1 (Achanta et al., CVPR 2009)."""
    totals = frame.counts.sum(axis=0)
    threshold = 2 * float(totals @ frame.values) / frame.num_pixels
    if np.any(np.abs(frame.values[totals > 0] - threshold) < _TIE):
        # The threshold falls on a grey level, whose pixels the last bit of the mean moves from
        # one side to the other. Only the sum over the image, in its order, has the same bit as
        # the protocol's.
        threshold = 2 * float(np.mean(cv2.LUT(frame.prediction, frame.values)))
    return min(threshold, 1.0)


def mean_absolute_error(counts: IntArray, values: FloatArray) -> float:
    """Mean absolute difference of the normalised map and the ground truth.

    Counts are [2, 256], background and foreground by grey level; values [256] are of the levels.
    Source: Perazzi et al., "Saliency filters", CVPR 2012.
    """
    return float((counts[0] @ values + counts[1] @ (1 - values)) / counts.sum())


def e_measure(confusion: Confusion) -> FloatArray:
    """Enhanced-alignment measure of a binary mask (Fan et al., IJCAI 2018).

    Both masks minus their means take two values each, so the alignment matrix has one value for
    each of the four confusion classes and its mean is a weighted sum of four terms. The sum is
    divided by the number of pixels minus 1, as in the VPS toolbox protocol; a frame of a single
    pixel therefore scores 0 or 1 / eps. An empty ground truth scores the share of background
    marked, a full one the share of foreground marked.
    """
    tp, fp, fn, tn = (np.asarray(count, np.float64) for count in confusion)
    num_pixels = tp + fp + fn + tn
    if not np.any(tp + fn):
        aligned = fn + tn
    elif not np.any(fp + tn):
        aligned = tp + fp
    else:
        predicted_mean, truth_mean = (tp + fp) / num_pixels, (tp + fn) / num_pixels
        aligned = (
            tp * _enhanced_alignment(1 - predicted_mean, 1 - truth_mean)
            + fp * _enhanced_alignment(1 - predicted_mean, -truth_mean)
            + fn * _enhanced_alignment(-predicted_mean, 1 - truth_mean)
            + tn * _enhanced_alignment(-predicted_mean, -truth_mean)
        )
    return np.asarray(aligned / (num_pixels - 1 + _EPS), np.float64)


def _enhanced_alignment(predicted: FloatArray, truth: FloatArray) -> FloatArray:
    """Equations 2 to 4 of Fan et al. for one pair of values minus their means."""
    alignment = 2 * predicted * truth / (predicted**2 + truth**2 + _EPS)
    return np.asarray((alignment + 1) ** 2 / 4, np.float64)
