"""Enhanced-alignment measure, in closed form from confusion counts."""

import numpy as np

from sali.metrics.counted_frame import FloatArray
from sali.metrics.curves import Confusion

_EPS = np.spacing(1.0)


def e_measure(confusion: Confusion) -> FloatArray:
    """Enhanced-alignment measure of a binary mask (Fan et al., IJCAI 2018).

    Both masks minus their means take two values each, so the alignment matrix has one value for
    each of the four confusion classes and its mean is a weighted sum of four terms. The sum is
    divided by the number of pixels minus 1, as in the VPS toolbox protocol; a frame of a single
    pixel therefore scores 0 or 1 / eps.

    Args:
        confusion: Four counts, scalars or [K].

    Returns:
        Of the shape of the counts. An empty ground truth scores the share of background
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
