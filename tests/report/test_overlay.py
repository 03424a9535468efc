"""Overlays: the tint is the mixture it should be, and the time can be read."""

from fractions import Fraction

import numpy as np
import pytest
from video_files import smooth_frames

from sali.report.overlay import PREDICTION_RGB, TINT_STRENGTH, clock, draw_overlay, draw_time


def test_the_tint_mixes_frame_and_colour_by_the_probability():
    frame = smooth_frames(1, 40, 60)[0]
    probability = np.linspace(0, 0.49, 40 * 60, dtype=np.float32).reshape(40, 60)
    strength = TINT_STRENGTH * probability[..., None].astype(float)
    expected = frame * (1 - strength) + np.array(PREDICTION_RGB) * strength
    assert np.abs(draw_overlay(frame, probability) - expected).max() <= 1


def test_the_contour_goes_round_the_prediction():
    frame = np.zeros((40, 60, 3), np.uint8)
    probability = np.zeros((40, 60), np.float32)
    probability[10:30, 20:50] = 1
    drawn = draw_overlay(frame, probability)
    tint, outside = drawn[20, 35].astype(int), drawn[5, 5]
    assert np.abs(tint - TINT_STRENGTH * np.array(PREDICTION_RGB)).max() <= 1
    assert outside.max() == 0
    for edge in (drawn[10, 35], drawn[29, 35], drawn[20, 20], drawn[20, 49]):
        # How strong an antialiased line gets is OpenCV's affair; it is the prediction's colour,
        # and nearer to it than to the tint.
        assert np.abs(PREDICTION_RGB - edge.astype(int)).sum() < np.abs(tint - edge).sum()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00.000"),
        (Fraction(1, 25), "0:00:00.040"),
        (59.9999, "0:00:59.999"),
        (Fraction(3_725_080, 1000), "1:02:05.080"),
        (36_000, "10:00:00.000"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize("size", [(96, 120), (1008, 1158), (2160, 3840)])
@pytest.mark.parametrize("background", [0, 128, 255])
def test_the_time_stands_out_and_grows_with_the_frame(size, background):
    frame = np.full((*size, 3), background, np.uint8)
    draw_time(frame, 83.04)
    changed = (frame != background).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows[0] > size[0] / 2 and columns[-1] < size[1]  # in the lower left corner, all of it
    assert columns[0] < size[1] / 4
    height = rows[-1] - rows[0]
    assert max(8, 0.03 * min(size)) <= height <= max(16, 0.06 * min(size))
    window = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (window > 200).mean() > 0.05 and (window < 55).mean() > 0.05  # white on black
