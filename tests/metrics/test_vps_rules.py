"""Rules of the protocol in the corners, and what a user sees for bad input."""

import warnings

import numpy as np
import pytest
from py_sod_metrics import Smeasure

from sali.data.listing import clip_key, frame_key, is_scored
from sali.metrics.vps import (
    CURVES,
    METRIC_NAMES,
    curve,
    frame_scores,
    match_size,
    reduce_subset,
    scores,
    summary,
)

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def corner_mask(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((8, 8), bool)
    mask[rows, columns] = True
    return mask


def pysod_s_measure(prediction: np.ndarray, mask: np.ndarray) -> float:
    metric = Smeasure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric.step(prediction, mask.astype(np.uint8) * 255)
    return metric.get_results()["sm"]


def test_specificity_is_0_without_a_true_positive() -> None:
    mask = corner_mask(slice(0, 2), slice(0, 2))
    prediction = np.where(mask, 0, 255).astype(np.uint8)
    vector = frame_scores(prediction, mask)
    # Nothing of the polyp is marked until the last threshold, 0, marks everything.
    assert not any(curve(vector, name)[:-1].any() for name in CURVES[2:])
    assert curve(vector, "specificity")[-1] == 0


def test_full_ground_truth_stays_finite() -> None:
    vector = frame_scores(GREY, np.ones((8, 8), bool))
    assert np.isfinite(vector).all()
    assert (curve(vector, "specificity") == 1).all()


def test_empty_ground_truth_scores_0_whatever_is_marked() -> None:
    vector = frame_scores(GREY, np.zeros((8, 8), bool))
    assert not any(curve(vector, name).any() for name in CURVES[1:])
    found = summary(vector)
    assert found["weighted_f"] == found["f_adaptive"] == 0


def test_normalisation_hides_how_weak_a_map_is() -> None:
    mask = corner_mask(slice(2, 5), slice(2, 6))
    assert summary(frame_scores(mask.astype(np.uint8) * 3, mask))["dice_max"] == 1


@pytest.mark.parametrize(
    ("mask", "pysod_is_finite"),
    [
        pytest.param(corner_mask(slice(3, 4), slice(3, 4)), True, id="foreground of one pixel"),
        pytest.param(~corner_mask(slice(3, 4), slice(3, 4)), True, id="background of one pixel"),
        pytest.param(corner_mask(slice(0, 1), slice(0, 2)), True, id="quadrant of one pixel"),
        pytest.param(corner_mask(slice(7, 8), slice(2, 6)), False, id="empty quadrant"),
    ],
)
def test_s_measure_of_undefined_variances(mask: np.ndarray, pysod_is_finite: bool) -> None:
    """The toolbox scores 0 where it meets 0 / 0. PySODMetrics takes 0 as variance, or is NaN."""
    assert summary(frame_scores(GREY, mask))["s_measure"] == 0
    other = pysod_s_measure(GREY, mask)
    assert (other > 0) if pysod_is_finite else np.isnan(other)


def test_thresholds_are_exact() -> None:
    """Each grey level over the full range is marked from its own threshold on."""
    prediction = np.arange(256, dtype=np.uint8).reshape(16, 16)
    sensitivity = curve(frame_scores(prediction, prediction >= 0), "sensitivity")
    marked = [np.count_nonzero(prediction / 255 >= t) for t in np.linspace(1, 0, 256)]
    np.testing.assert_array_equal(sensitivity * 256, marked)
    # An 8-bit histogram of floor(value x 255) would have marked one more level each time.
    assert np.count_nonzero(np.diff(marked) != 1) > 0


def test_maximum_is_of_the_mean_curve() -> None:
    mask = corner_mask(slice(2, 6), slice(2, 6))
    weak = np.where(mask, 100, 0).astype(np.uint8)
    weak[0, 0] = 255
    loud = np.where(mask, 255, 150).astype(np.uint8)
    loud[0, 0] = 0
    clips = [frame_scores(p, mask) for p in (weak, loud)]
    best = [summary(clip)["dice_max"] for clip in clips]
    assert summary(reduce_subset(clips))["dice_max"] < np.mean(best)


def test_a_subset_is_the_mean_over_clips() -> None:
    mask = corner_mask(slice(2, 6), slice(2, 6))
    good, bad = (frame_scores(p.astype(np.uint8) * 255, mask) for p in (mask, ~mask))
    subset = reduce_subset([good, bad])
    assert summary(subset)["mae"] == pytest.approx(0.5)


def test_scores_work_on_batches_of_vectors() -> None:
    vector = frame_scores(GREY, GREY > 20)
    batch = scores(np.stack([vector, vector]))
    assert tuple(batch) == METRIC_NAMES
    assert all(values.shape == (2,) for values in batch.values())
    assert "dice" not in batch


def test_match_size() -> None:
    assert match_size(GREY, (8, 8)) is GREY
    assert match_size(GREY, (5, 9)).shape == (5, 9)


@pytest.mark.parametrize(
    ("prediction", "mask", "message"),
    [
        (GREY.astype(float), GREY > 3, "map: got float64"),
        (GREY, np.ones((8, 9), bool), r"map: got uint8 \(8, 8\), wanted uint8 \(8, 9\)"),
        (GREY, np.ones((8, 8, 3), np.uint8), "ground truth: got uint8"),
        (GREY, GREY.astype(np.uint16), "ground truth: got uint16"),
        (GREY, (GREY > 3).astype(np.uint8), "0 and 1"),
        (np.zeros((0, 3), np.uint8), np.zeros((0, 3), bool), "non-empty"),
    ],
)
def test_bad_input(prediction: np.ndarray, mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame_scores(prediction, mask)


def test_nothing_to_average() -> None:
    with pytest.raises(ValueError, match="subset: got 0 clips"):
        reduce_subset([])
    with pytest.raises(ValueError, match="wanted one of"):
        curve(np.zeros(1541), "f1")


def test_frames_sort_by_number() -> None:
    stem = "case_M_20181001100041_0U62372100109340_1_005_00{}-1_a{}_ayy_image{:04d}.png"
    ordered = [stem.format(*key) for key in [(1, 9, 98), (1, 9, 100), (1, 10, 1), (2, 1, 1)]]
    assert sorted({*ordered}, key=frame_key) == ordered
    assert sorted(["10.png", "9.png"], key=frame_key) == ["9.png", "10.png"]
    assert sorted(["f10b.png", "f9b.png", "a.png"], key=frame_key) == [
        "a.png",
        "f9b.png",
        "f10b.png",
    ]
    assert sorted(["case10_1", "case2_10", "case2_9", "case2"], key=clip_key) == [
        "case2",
        "case2_9",
        "case2_10",
        "case10_1",
    ]


def test_short_clips() -> None:
    assert [is_scored(index, 4) for index in range(4)] == [False, True, True, False]
