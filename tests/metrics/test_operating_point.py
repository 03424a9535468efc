"""The operating point against a search over all confidences with scipy.ndimage."""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import expit, logit

from sali.metrics.operating_point import (
    OperatingPoint,
    fit_operating_point,
    fit_temperature,
    large_regions,
)

SHAPE = (24, 32)
EIGHT = np.ones((3, 3))
REGIONS = (0.0, 0.01, 0.03)
THRESHOLDS = (0.5, 0.8)


def filtered(mask, min_region):
    """Regions of at least a share of the image, by SciPy."""
    labels, number = ndimage.label(mask, EIGHT)
    kept = np.zeros_like(mask)
    for label in range(1, number + 1):
        if (labels == label).sum() >= min_region * mask.size:
            kept |= labels == label
    return kept


def made_frames(seed, num_free=20, num_polyp=12):
    """Smooth noise with specks, and on half of the frames a polyp that shows in it."""
    random = np.random.default_rng(seed)
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    frames = []
    for number in range(num_free + num_polyp):
        logits = 2.5 * ndimage.gaussian_filter(random.normal(size=SHAPE), 1.5) * 4 - 2
        logits[random.random(SHAPE) < 0.004] += 6
        mask = np.zeros(SHAPE, bool)
        if number >= num_free:
            row, column = random.integers(6, 18), random.integers(8, 24)
            mask = np.hypot(rows - row, columns - column) < 5
            logits += 5 * mask + random.normal()
        frames.append((np.rint(255 * expit(logits)).astype(np.uint8), mask))
    return frames


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def certain(prediction, level, min_region, confidence):
    """Regions of at least this size and mean probability, by SciPy."""
    labels, number = ndimage.label(filtered(prediction >= level, min_region), EIGHT)
    means = ndimage.mean(prediction / 255, labels, range(1, number + 1))
    return np.isin(labels, 1 + np.flatnonzero(np.asarray(means) >= confidence))


def mean_of_surest(prediction, level, min_region):
    labels, number = ndimage.label(filtered(prediction >= level, min_region), EIGHT)
    return max(ndimage.mean(prediction / 255, labels, range(1, number + 1)), default=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.34])
def test_the_fit_is_that_of_a_search(seed, rate):
    frames = made_frames(seed)
    free = [prediction for prediction, mask in frames if not mask.any()]
    found = {}
    for threshold, share in itertools.product(THRESHOLDS, REGIONS):
        level = int(np.ceil(255 * threshold))
        # A confidence just above what one of the frames reaches, or none.
        surest = np.array([mean_of_surest(one, level, share) for one in free])
        for confidence in [0, *(surest + 1e-5)]:
            marked = np.mean((surest > 0) & (surest >= confidence))
            if marked <= rate and confidence <= 1:
                hits = [
                    iou(certain(one, level, share, confidence), mask) >= 0.5
                    for one, mask in frames
                    if mask.any()
                ]
                found[level, share, confidence] = np.mean(hits), marked
    fit = fit_operating_point(frames, rate, THRESHOLDS, REGIONS)
    assert fit.frame_sensitivity == max(value for value, _ in found.values()) > 0
    level = round(255 * fit.point.cut + 0.5)
    assert level in {int(np.ceil(255 * one)) for one in THRESHOLDS}
    masks = [certain(one, level, fit.point.min_region, fit.point.confidence) for one in free]
    assert fit.false_alarm_rate == np.mean([mask.any() for mask in masks]) <= rate
    assert (fit.polyp_free_frames, fit.polyp_frames) == (20, 12)


@pytest.mark.parametrize("confidence", [0.3, 0.8, 0.95])
def test_regions_are_kept_by_their_mean_probability(confidence):
    for prediction, _ in made_frames(4):
        point = OperatingPoint(0.5, 0.01, 2.0, confidence)
        kept = certain(prediction, 128, 0.01, confidence)
        np.testing.assert_array_equal(point.mask(prediction), kept)
        np.testing.assert_array_equal(point.mask(prediction / np.float32(255)), kept)


def test_a_stricter_rate_marks_fewer_frames():
    frames = made_frames(7)
    fits = [fit_operating_point(frames, rate, (0.5,), REGIONS) for rate in (0.5, 0.2, 0.05)]
    rates = [fit.false_alarm_rate for fit in fits]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1]


def test_a_rate_that_no_confidence_keeps_gives_the_strictest_point():
    full = np.full(SHAPE, 255, np.uint8)
    fit = fit_operating_point([(full, np.zeros(SHAPE, bool))], 0.05, THRESHOLDS, REGIONS)
    assert fit.false_alarm_rate == 1 and fit.frame_sensitivity is None
    assert fit.point.min_region == max(REGIONS) and fit.point.confidence == 1


def test_without_a_polyp_free_frame_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match="without a polyp"):
        fit_operating_point([(np.zeros(SHAPE, np.uint8), np.ones(SHAPE, bool))], 0.05)


@pytest.mark.parametrize("temperature", [0.5, 1.7, 2.5])
def test_the_temperature_of_made_logits_is_found(temperature):
    random = np.random.default_rng(1)
    logits = random.normal(0, 1, 400_000)
    truth = random.random(logits.size) < expit(logits)
    level = np.rint(255 * expit(logits * temperature)).astype(int)
    counts = np.stack([np.bincount(level[truth == kind], minlength=256) for kind in (0, 1)])
    assert fit_temperature(counts) == pytest.approx(temperature, rel=0.03)
    assert fit_temperature(counts * [[1], [0]]) == 1


@pytest.mark.parametrize("share", [0.0, 0.004, 0.02, 0.2])
def test_regions_are_those_of_scipy(share):
    random = np.random.default_rng(3)
    mask = ndimage.gaussian_filter(random.normal(size=(60, 80)), 1.2) > 0.1
    np.testing.assert_array_equal(large_regions(mask, share * mask.size), filtered(mask, share))


def test_specks_go_and_regions_stay():
    mask = np.zeros((20, 20), np.bool_)
    mask[2:8, 2:8] = mask[12, 12] = mask[13, 13] = True
    kept = large_regions(mask, 3)
    assert kept.sum() == 36 and not kept[10:].any()
    assert large_regions(mask, 2).sum() == 38
    assert not large_regions(mask, 37).any()


def test_a_map_and_its_probability_give_the_same_mask():
    random = np.random.default_rng(5)
    probability = random.random((50, 60)).astype(np.float32)
    prediction = np.rint(probability * 255).astype(np.uint8)
    for level in (3, 128, 200, 254):
        for temperature in (1.0, 2.5):
            threshold = float(expit(logit((level - 0.5) / 255) / temperature))
            point = OperatingPoint(threshold, 0.001, temperature)
            np.testing.assert_array_equal(point.mask(probability), point.mask(prediction))
            assert (point.calibrated(probability) >= threshold).mean() == pytest.approx(
                (prediction >= level).mean(), abs=1e-3
            )
    np.testing.assert_array_equal(OperatingPoint().mask(prediction), prediction >= 128)


@pytest.mark.parametrize(
    "bad", [{"threshold": 1}, {"min_region": 1}, {"temperature": 0}, {"confidence": 2}]
)
def test_numbers_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="operating point"):
        OperatingPoint(**bad)
