"""IoU of centred masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sali.metrics.clinical import centred_iou


def rectangle(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((30, 40), bool)
    mask[top : top + height, left : left + width] = True
    return mask


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 22), st.integers(0, 30))
def test_motion_does_not_count(top: int, left: int) -> None:
    assert centred_iou(rectangle(5, 9, 8, 10), rectangle(top, left, 8, 10)) == 1


def test_change_of_shape_counts() -> None:
    assert centred_iou(rectangle(0, 0, 4, 4), rectangle(20, 20, 8, 4)) == pytest.approx(0.5)
    assert centred_iou(rectangle(0, 0, 8, 2), rectangle(9, 9, 2, 8)) == pytest.approx(4 / 28)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_equals_moving_pixel_by_pixel(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = (generator.random((9, 11)) < generator.random() for _ in range(2))
    if not (first.any() and second.any()):
        return
    points = [np.argwhere(mask) for mask in (first, second)]
    step = np.round(points[0].mean(axis=0) - points[1].mean(axis=0))
    still, moved = {tuple(p) for p in points[0]}, {tuple(p + step) for p in points[1]}
    expected = len(still & moved) / len(still | moved)
    assert centred_iou(first, second) == pytest.approx(expected)


def test_empty_masks_and_sizes() -> None:
    nothing = np.zeros((30, 40), bool)
    assert centred_iou(nothing, rectangle(1, 1, 3, 3)) == 0
    assert centred_iou(nothing, nothing) == 1
    with pytest.raises(ValueError, match="wanted the same"):
        centred_iou(nothing, nothing.T)
