"""Paired bootstrap over clips: is the difference of two methods more than chance?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sali.metrics.counted_frame import FloatArray
from sali.metrics.vps import scores
from sali.ranges import check_ranges

Statistic = Callable[[FloatArray], dict[str, FloatArray]]
_BATCH = 256


@dataclass(frozen=True)
class Bootstrap:
    """Resampling of clips.

    Attributes:
        num_resamples: Number of draws R.
        confidence: Coverage of the intervals, in (0, 1).
        seed: Seed of the draws.
    """

    num_resamples: int = 2000
    confidence: float = 0.95
    seed: int = 2021

    def __post_init__(self) -> None:
        check_ranges({"bootstrap": vars(self)}, "evaluate")


class Interval(NamedTuple):
    """Difference first - second and its percentile interval.

    Attributes:
        difference: On the clips as they are.
        low: Lower end.
        high: Upper end.
    """

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    first: FloatArray,
    second: FloatArray,
    bootstrap: Bootstrap,
    statistic: Statistic = scores,
) -> dict[str, Interval]:
    """Confidence intervals of the difference of two methods on the same clips.

    Clips are drawn with replacement, the same ones for both methods: frames of a clip are too
    alike to be drawn on their own, and most of the spread between clips is common to both
    methods. Each draw is reduced as the protocol does (mean over clips first, then the maximum
    of a curve), so the interval is one of the published score and not of a mean of maxima.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13
    (percentile interval).

    Args:
        first: [N, V], one vector per clip, say mean vectors of `vps.frame_scores`.
        second: [N, V], of the other method, clips in the same order.
        bootstrap: Number of draws, coverage and seed.
        statistic: Takes mean vectors [R, V], returns named scores [R].

    Returns:
        One interval per name of `statistic`.

    Raises:
        ValueError: For shapes that differ, or fewer than two clips.
    """
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"clips: got {first.shape} and {second.shape}, wanted the same [N, V] with N >= 2; "
            "give the vectors of the same clips in the same order"
        )
    num_clips = len(first)
    # How often each clip is drawn, as a share: a draw's mean is one matrix product.
    even = np.full(num_clips, 1 / num_clips)
    draws = np.random.default_rng(bootstrap.seed)
    shares = draws.multinomial(num_clips, even, bootstrap.num_resamples) / num_clips
    batches = [
        _differences(shares[start : start + _BATCH], first, second, statistic)
        for start in range(0, len(shares), _BATCH)
    ]
    observed = _differences(even[np.newaxis], first, second, statistic)
    tail = (1 - bootstrap.confidence) / 2
    intervals = {}
    for name, difference in observed.items():
        drawn = np.concatenate([batch[name] for batch in batches])
        low, high = np.quantile(drawn, [tail, 1 - tail])
        intervals[name] = Interval(float(difference[0]), float(low), float(high))
    return intervals


def _differences(
    shares: FloatArray, first: FloatArray, second: FloatArray, statistic: Statistic
) -> dict[str, FloatArray]:
    """Return scores of `first` minus those of `second`, of clips weighted by rows [R, N]."""
    ours, theirs = statistic(shares @ first), statistic(shares @ second)
    return {name: ours[name] - theirs[name] for name in ours}
