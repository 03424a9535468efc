"""Bad frames are found, one cause at a time, whatever the size of the frame."""

import cv2
import numpy as np
import pytest

from sali.metrics.frame_quality import (
    QualityLimits,
    consecutive_runs,
    field_of_view,
    frame_quality,
)

LIMITS = QualityLimits()


@pytest.fixture
def tissue() -> np.ndarray:
    """Reddish texture at several scales, RGB."""
    generator = np.random.default_rng(0)
    texture = np.zeros((240, 320), np.float32)
    for cells in (6, 24, 96):
        noise = generator.normal(0, 14, (cells, cells)).astype(np.float32)
        texture += cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    colours = np.array([160, 90, 70], np.float32)
    return np.clip(texture[..., None] + colours, 0, 255).astype(np.uint8)


def broken(frame: np.ndarray) -> tuple[str, ...]:
    return LIMITS.broken_by(frame_quality(frame))


def test_clear_frame(tissue: np.ndarray) -> None:
    assert broken(tissue) == ()


def test_blur(tissue: np.ndarray) -> None:
    assert broken(cv2.GaussianBlur(tissue, (0, 0), 4)) == ("sharpness",)
    assert "sharpness" in broken(np.full_like(tissue, 90))


def test_exposure(tissue: np.ndarray) -> None:
    assert broken(tissue // 5) == ("dark",)
    bright = np.clip(tissue.astype(int) * 4, 0, 255).astype(np.uint8)
    assert "clipped" in broken(bright)


def test_glare(tissue: np.ndarray) -> None:
    tissue[60:160, 100:200] = 0.8 * 255 + 0.2 * tissue[60:160, 100:200]
    assert broken(tissue) == ("glare",)


@pytest.mark.parametrize("scale", [2, 3])
def test_size_does_not_matter(tissue: np.ndarray, scale: int) -> None:
    large = cv2.resize(tissue, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    small, big = frame_quality(tissue), frame_quality(large)
    assert big.sharpness == pytest.approx(small.sharpness, rel=0.4)
    assert big[1:] == pytest.approx(small[1:], abs=0.01)


def test_black_border_is_not_dark_tissue(tissue: np.ndarray) -> None:
    framed = np.zeros((400, 600, 3), np.uint8)
    framed[80:320, 140:460] = tissue
    view = field_of_view([framed, framed // 2])
    assert view.sum() == 240 * 320
    assert frame_quality(framed).dark > LIMITS.max_dark
    assert LIMITS.broken_by(frame_quality(framed, view)) == ()


def test_runs() -> None:
    flags = [1, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1]
    assert consecutive_runs(map(bool, flags), min_length=3) == [(3, 6), (8, 12)]
    assert consecutive_runs([], min_length=1) == []
    assert consecutive_runs([True] * 4) == []


def test_bad_input(tissue: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frame: got uint8"):
        frame_quality(tissue[..., 0])
    with pytest.raises(ValueError, match="field_of_view: got shape"):
        frame_quality(tissue, np.zeros((240, 320), bool))
    with pytest.raises(ValueError, match="got none"):
        field_of_view([])
    with pytest.raises(ValueError, match="min_length: got 0"):
        consecutive_runs([True], 0)
