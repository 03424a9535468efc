"""Paired intervals: repeatable, tight when methods differ alike on all clips, honest otherwise."""

import numpy as np
import pytest

from sali.metrics.bootstrap import Bootstrap, paired_bootstrap
from sali.metrics.vps import METRIC_NAMES, NUM_VALUES, scores


def first_value(vectors: np.ndarray) -> dict[str, np.ndarray]:
    return {"score": vectors[:, 0]}


def test_intervals_of_the_protocol() -> None:
    generator = np.random.default_rng(0)
    base = generator.random((12, NUM_VALUES))
    better = base + 0.1
    found = paired_bootstrap(better, base, Bootstrap(300, seed=1))
    assert tuple(found) == METRIC_NAMES
    # Clips differ widely, but the two methods by the same amount on each: pairing shows it.
    for interval in found.values():
        assert interval == pytest.approx((0.1, 0.1, 0.1))
        assert interval.excludes_zero


def test_difference_is_that_of_the_subset() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.random((2, 7, NUM_VALUES))
    found = paired_bootstrap(first, second, Bootstrap(50))
    expected = scores(first.mean(axis=0))["dice_max"] - scores(second.mean(axis=0))["dice_max"]
    assert found["dice_max"].difference == pytest.approx(expected)


def test_repeatable_and_seeded() -> None:
    first, second = np.random.default_rng(3).random((2, 20, 1))
    runs = [
        paired_bootstrap(first, second, Bootstrap(seed=seed), first_value) for seed in (4, 4, 5)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_coverage() -> None:
    """Of 95 % intervals of a true difference 0, about 5 % exclude it."""
    generator = np.random.default_rng(6)
    misses = 0
    for seed in range(200):
        first, second = generator.normal(size=(2, 40, 1))
        found = paired_bootstrap(first, second, Bootstrap(400, seed=seed), first_value)
        misses += found["score"].excludes_zero
    assert 2 <= misses <= 24


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="wanted the same"):
        paired_bootstrap(np.zeros((3, 2)), np.zeros((4, 2)), Bootstrap())
    with pytest.raises(ValueError, match="N >= 2"):
        paired_bootstrap(np.zeros((1, 2)), np.zeros((1, 2)), Bootstrap())
    with pytest.raises(ValueError, match="num_resamples: got 0"):
        Bootstrap(num_resamples=0)
