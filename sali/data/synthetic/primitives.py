"""What all drawing is made of: smooth steps, noise that wraps around, tints, slow wandering."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Random = np.random.Generator


def smooth_step(low: float, high: float, x: Array) -> Array:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def look_up(picture: Array, x: Array, y: Array, how: int = cv2.INTER_LINEAR) -> Array:
    """The picture, which wraps around, at float32 coordinates."""
    return np.asarray(cv2.remap(picture, x, y, how, borderMode=cv2.BORDER_WRAP))


def smooth_noise(rng: Random, shape: tuple[int, int], cell: float) -> Array:
    """Smooth noise in about -1..1, float32 `shape`, which wraps around in both directions."""
    if cell >= 16:  # coarse noise is drawn small, for speed
        small = smooth_noise(rng, (shape[0] // 4, shape[1] // 4), cell / 4)
        size, small = (shape[1] + 16, shape[0] + 16), np.pad(small, 2, mode="wrap")
        return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC))[8:-8, 8:-8]
    rows, cols = (max(2, round(n / cell)) for n in shape)
    grid = rng.uniform(-1, 1, (rows, cols)).astype(np.float32)
    # Whole turns of shear keep the wrap and spare the eye a lattice in line with the folds.
    turn = rng.choice([-1, 1])
    x, y = (
        (cols / shape[1], -turn * cols / shape[0], 0),
        (turn * rows / shape[1], rows / shape[0], 0),
    )
    lattice = np.array([x, y])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size, wrap = shape[::-1], cv2.BORDER_WRAP
    return np.asarray(cv2.warpAffine(grid, lattice, size, flags=flags, borderMode=wrap))


def tint(*layers: tuple[Array, Any]) -> Array:
    """Sum of layers [H, W], each times its RGB colour, as float32 [H, W, 3]."""
    rgb = np.array([colour for _, colour in layers], np.float32)
    planes = cv2.merge([np.asarray(plane, np.float32) for plane, _ in layers])
    return np.asarray(cv2.transform(planes, rgb.T))


def wander(rng: Random, period: float, size: float, n: int) -> Callable[[float], Array]:
    """`n` smooth random functions of time with about the given period and amplitude."""
    rates = 2 * np.pi / (period * rng.uniform(0.5, 1.5, (3, n)))
    phases = rng.uniform(0, 2 * np.pi, (3, n))
    parts = size * np.array([[0.5], [0.3], [0.2]])
    return lambda t: (parts * np.sin(rates * t + phases)).sum(0)
