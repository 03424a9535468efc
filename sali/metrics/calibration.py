"""Calibration of pixel probabilities, from counts by grey level.

A map stores probability x 255, so counts [2, 256] (background, foreground x grey level) hold all
that calibration needs, and add up over frames without growing.
"""

from typing import NamedTuple

import numpy as np

from sali.metrics.counted_frame import NUM_LEVELS, FloatArray, IntArray

PROBABILITIES: FloatArray = np.arange(NUM_LEVELS) / 255


class Reliability(NamedTuple):
    """A reliability diagram: arrays [num_bins], of which the first two are NaN in empty bins.

    Attributes:
        confidence: Mean predicted probability in each bin.
        frequency: Share of pixels in each bin that are polyp.
        weight: Share of all pixels that fall into each bin.
    """

    confidence: FloatArray
    frequency: FloatArray
    weight: FloatArray


def reliability(counts: IntArray, num_bins: int = 15) -> Reliability:
    """Group pixels by predicted probability into bins of equal width.

    Args:
        counts: [2, 256].
        num_bins: Number of bins, 1 to 256; 15 as in Guo et al., "On calibration of modern neural
            networks", ICML 2017.

    Raises:
        ValueError: For a number of bins out of range, or counts of no pixel.
    """
    if not 1 <= num_bins <= NUM_LEVELS:
        raise ValueError(f"num_bins: got {num_bins}, wanted 1 to {NUM_LEVELS}")
    totals = counts.sum(axis=0)
    if not totals.sum():
        raise ValueError("counts: got no pixels, wanted at least one frame")
    bins = np.minimum(np.arange(NUM_LEVELS) * num_bins // 255, num_bins - 1)
    size = np.bincount(bins, weights=totals, minlength=num_bins)
    predicted = np.bincount(bins, weights=totals * PROBABILITIES, minlength=num_bins)
    observed = np.bincount(bins, weights=counts[1], minlength=num_bins)
    filled = np.where(size > 0, size, np.nan)
    return Reliability(predicted / filled, observed / filled, size / size.sum())


def expected_calibration_error(counts: IntArray, num_bins: int = 15) -> float:
    """Mean over pixels of |polyp frequency - probability| of their bin (Guo et al., ICML 2017).

    Of counts [2, 256]. The probability is that of polyp, not that of the more likely class: a map
    of 0 on background is perfectly calibrated there, which makes values small where background is
    plentiful.
    """
    bins = reliability(counts, num_bins)
    gaps = np.abs(bins.frequency - bins.confidence)
    return float(np.nansum(gaps * bins.weight))


def brier_score(counts: IntArray) -> float:
    """Mean squared difference of probability and truth over counted pixels (Brier, 1950)."""
    if not counts.sum():
        raise ValueError("counts: got no pixels, wanted at least one frame")
    squares = counts[0] @ PROBABILITIES**2 + counts[1] @ (1 - PROBABILITIES) ** 2
    return float(squares / counts.sum())
