"""Frame scores against PySODMetrics and, for the overlap curves, against their definition."""

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_sod_metrics import MAE, Emeasure, Fmeasure, Smeasure, WeightedFmeasure

from sali.metrics.counted_frame import CountedFrame, joint_counts
from sali.metrics.vps import CURVES, curve, frame_scores, summary

TOLERANCE = 1e-9


def reference(prediction: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    truth = mask.astype(np.uint8) * 255
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = Smeasure(), WeightedFmeasure(), MAE(), Emeasure(), Fmeasure()
        for metric in metrics:
            metric.step(prediction, truth)
    structure, weighted, error, alignment, overlap = (m.get_results() for m in metrics)
    return {
        "s_measure": structure["sm"],
        "weighted_f": weighted["wfm"],
        "mae": error["mae"],
        "e_adaptive": alignment["em"]["adp"],
        "f_adaptive": overlap["fm"]["adp"],
        "e": alignment["em"]["curve"],
        "f": overlap["fm"]["curve"],
    }


def overlap_by_definition(prediction: np.ndarray, mask: np.ndarray) -> np.ndarray:
    values = prediction / 255
    if values.max() != values.min():
        values = (values - values.min()) / (values.max() - values.min())
    curves = np.zeros((4, 256))
    for index, threshold in enumerate(np.linspace(1, 0, 256)):
        marked = values >= threshold
        hit = np.count_nonzero(marked & mask)
        if hit:
            background = np.count_nonzero(~mask)
            missed = np.count_nonzero(~marked & ~mask)
            curves[:, index] = (
                hit / np.count_nonzero(mask),
                missed / background if background else 1,
                2 * hit / (np.count_nonzero(marked) + np.count_nonzero(mask)),
                hit / np.count_nonzero(marked | mask),
            )
    return curves


def has_undefined_variance(prediction: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the S-measure asks for the variance of fewer than two pixels."""
    frame = CountedFrame.count(prediction, mask)
    sizes = [frame.num_foreground, frame.num_pixels - frame.num_foreground]
    return 0 not in sizes and min(*sizes, *frame.quadrants.sum(axis=(1, 2))) < 2


def check(prediction: np.ndarray, mask: np.ndarray) -> None:
    found = frame_scores(prediction, mask)
    expected = reference(prediction, mask)
    if has_undefined_variance(prediction, mask):
        assert summary(found)["s_measure"] == 0
        del expected["s_measure"]
    for name, value in expected.items():
        ours = value_of(found, name)
        # Relative for the E-measure of a single pixel, which divides by eps.
        np.testing.assert_allclose(ours, value, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
    overlaps = overlap_by_definition(prediction, mask)
    ours = [curve(found, name) for name in CURVES[2:]]
    np.testing.assert_allclose(ours, overlaps, rtol=0, atol=TOLERANCE)


def value_of(vector: np.ndarray, name: str) -> np.ndarray | float:
    return curve(vector, name) if name in CURVES else summary(vector)[name]


@st.composite
def frames(draw: st.DrawFn, max_side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    side = st.integers(1, max_side)
    shape = draw(side), draw(side)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(
        st.sampled_from([[0, 255], [7], [0], [255], [0, 51, 102, 255], [100, 101], range(256)])
    )
    share = draw(st.sampled_from([0, 0.03, 0.3, 0.8, 1]))
    prediction = generator.choice(levels, shape).astype(np.uint8)
    mask = generator.random(shape) < share
    if draw(st.booleans()):
        # Blocks: quadrants that are constant, masks that hug a border.
        prediction[:, : draw(st.integers(0, shape[1]))] = draw(st.integers(0, 255))
        mask[draw(st.integers(0, shape[0])) :] = draw(st.booleans())
    return prediction, mask


def polyp_frame(
    height: int, width: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A blob and a soft, shifted map of it, with noise in the background."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    mask = ((rows - 0.45) / 0.15) ** 2 + ((columns - 0.5) / 0.2) ** 2 < 1
    radius = np.hypot((rows - 0.48) / 0.14, (columns - 0.52) / 0.22)
    values = 220 / (1 + np.exp(12 * (radius - 1))) + generator.normal(noise, noise, mask.shape)
    return np.clip(values, 0, 255).astype(np.uint8), mask


@settings(deadline=None, max_examples=150)
@given(frames())
def test_random_frames(frame: tuple[np.ndarray, np.ndarray]) -> None:
    check(*frame)


@settings(deadline=None, max_examples=10)
@given(frames(max_side=150))
def test_random_larger_frames(frame: tuple[np.ndarray, np.ndarray]) -> None:
    check(*frame)


@pytest.mark.parametrize("value", [0, 1, 77, 128, 254, 255])
@pytest.mark.parametrize("kind", ["empty", "full", "blob"])
def test_constant_maps(value: int, kind: str) -> None:
    mask = {
        "empty": np.zeros((37, 53), bool),
        "full": np.ones((37, 53), bool),
        "blob": polyp_frame(37, 53, 0)[1],
    }[kind]
    check(np.full(mask.shape, value, np.uint8), mask)


@pytest.mark.parametrize("noise", [0, 20])
def test_polyp(noise: float) -> None:
    check(*polyp_frame(230, 410, noise))


def test_marks_further_away_than_the_weight_reaches() -> None:
    prediction, mask = np.zeros((40, 900), np.uint8), np.zeros((40, 900), bool)
    mask[10:20, 5:15] = True
    prediction[8:18, 4:14] = 200
    prediction[5:35, 500:890] = 255
    check(prediction, mask)


@pytest.mark.parametrize("factor", [1, 7, 30])
def test_threshold_on_a_grey_level(factor: int) -> None:
    """Twice the mean is exactly one of the levels; the last bit of the mean decides."""
    for brightest, level in ((1, 51), (2, 102), (3, 153), (4, 204)):
        levels = np.array([0] * (11 - brightest) + [level] + [255] * brightest, np.uint8)
        for seed in range(5):
            generator = np.random.default_rng(seed)
            prediction = generator.permutation(np.repeat(levels, factor)).reshape(3, -1)
            check(prediction, generator.random(prediction.shape) < 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0, 20])
def test_full_size(noise: float) -> None:
    check(*polyp_frame(1008, 1158, noise))


@pytest.mark.slow
def test_full_size_random() -> None:
    generator = np.random.default_rng(5)
    prediction = generator.integers(0, 256, (1008, 1158), dtype=np.uint8)
    check(prediction, generator.random((1008, 1158)) < 0.01)


@settings(deadline=None, max_examples=30)
@given(frames())
def test_joint_counts(frame: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, mask = frame
    expected = [np.bincount(prediction[mask == side], minlength=256) for side in (0, 1)]
    np.testing.assert_array_equal(joint_counts(prediction, mask), expected)


def test_result_does_not_depend_on_threads_or_layout() -> None:
    prediction, mask = polyp_frame(90, 120, 15)
    expected = frame_scores(prediction, mask)
    fortran = frame_scores(np.asfortranarray(prediction), np.asfortranarray(mask))
    np.testing.assert_array_equal(fortran, expected)
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        np.testing.assert_array_equal(frame_scores(prediction, mask), expected)
    finally:
        cv2.setNumThreads(num_threads)
