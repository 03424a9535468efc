"""Calibration errors against their definitions over pixels."""

import numpy as np
import pytest

from sali.metrics.calibration import brier_score, expected_calibration_error, reliability
from sali.metrics.counted_frame import joint_counts


@pytest.fixture
def pixels() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    prediction = generator.integers(0, 256, (40, 50), dtype=np.uint8)
    return prediction, generator.random((40, 50)) < (prediction / 255) ** 2


def test_brier(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, mask = pixels
    expected = np.mean((prediction / 255 - mask) ** 2)
    assert brier_score(joint_counts(prediction, mask)) == pytest.approx(expected)


@pytest.mark.parametrize("num_bins", [1, 10, 15, 256])
def test_expected_calibration_error(pixels: tuple[np.ndarray, np.ndarray], num_bins: int) -> None:
    prediction, mask = pixels
    values = (prediction / 255).ravel()
    bins = np.minimum((values * num_bins).astype(int), num_bins - 1)
    expected = sum(
        abs(mask.ravel()[bins == b].mean() - values[bins == b].mean()) * np.mean(bins == b)
        for b in np.unique(bins)
    )
    found = expected_calibration_error(joint_counts(prediction, mask), num_bins)
    assert found == pytest.approx(expected)


def test_calibrated_map_has_no_error() -> None:
    counts = np.zeros((2, 256), int)
    counts[:, 51] = 80, 20
    counts[:, 204] = 20, 80
    assert expected_calibration_error(counts) == pytest.approx(0)
    bins = reliability(counts)
    assert np.nansum(bins.weight) == 1
    assert np.count_nonzero(np.isnan(bins.confidence)) == 13


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="num_bins: got 0"):
        reliability(np.ones((2, 256), int), 0)
    with pytest.raises(ValueError, match="got no pixels"):
        brier_score(np.zeros((2, 256), int))
    with pytest.raises(ValueError, match="got no pixels"):
        reliability(np.zeros((2, 256), int))
