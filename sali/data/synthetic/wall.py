"""The bare wall of the bowel: folds and mucosa, as pictures [along, around] that wrap around."""

from typing import NamedTuple

import cv2
import numpy as np

from sali.data.synthetic.primitives import Array, Random, smooth_noise, smooth_step, tint

WALL = (1152, 640)  # samples of the wall picture [along, around]
PER_UNIT = np.float32(WALL[1] / (2 * np.pi))  # wall samples per tube radius
ALONG = (np.arange(WALL[0], dtype=np.float32) / PER_UNIT)[:, None]  # place of the samples
AROUND = (np.arange(WALL[1], dtype=np.float32) / PER_UNIT)[None]


class Wall(NamedTuple):
    """The bare wall.

    Attributes:
        relief: float32 [along, around], inward height.
        paint: float32 [along, around, 3], RGB, mostly in 0..1.
        grain: float32 [along, around], fine noise in about -1..1.
        base: [3], RGB of plain mucosa.
    """

    relief: Array
    paint: Array
    grain: Array
    base: Array


def draw_wall(rng: Random) -> Wall:
    """Draw the wall of one case."""
    # Crescent folds between bulging pouches; three bands along the bowel make the lumen triangular.
    relief = 0.05 * np.cos(3 * AROUND)
    relief = relief + 0.1 * smooth_noise(rng, WALL, 200) + 0.02 * smooth_noise(rng, WALL, 55)
    crest, height = draw_folds(rng)
    relief += crest * height
    return Wall(relief, *draw_mucosa(rng, crest))


def draw_folds(rng: Random) -> tuple[Array, Array]:
    """Crests of the folds in 0..1, [along, around], and the height of the nearest fold."""
    folds = int(rng.integers(11, 14))
    gap = WALL[0] / PER_UNIT / np.float32(folds)
    place = (ALONG + 0.25 * smooth_noise(rng, WALL, 280)) / gap % folds
    fold = np.minimum(place.astype(np.int32), folds - 1)
    low, high = np.array([[0.4], [0], [0.2]]), np.array([[0.6], [6.3], [0.46]])
    jitter, turn, height = rng.uniform(low, high, (3, folds)).astype(np.float32)
    off = (place - fold - jitter[fold]) * gap
    crest = np.exp(-np.square(off / np.where(off < 0, np.float32(0.2), np.float32(0.1))))
    crest *= 0.3 + 0.7 * np.square(0.5 + 0.5 * np.cos(AROUND - turn[fold]))
    return crest, height[fold]


def draw_mucosa(rng: Random, crest: Array) -> tuple[Array, Array, Array]:
    """Paint, grain and base colour of `Wall`.

    Blotches, vessels, inflamed spots and stool: colour alone must not give the polyp away.
    """
    base = np.array([0.86, 0.47, 0.36]) + np.array([0.05, 0.05, 0.04]) * rng.uniform(-1, 1, 3)
    grain = smooth_noise(rng, WALL, 6)
    blotches = smooth_noise(rng, WALL, 120) + 0.6 * smooth_noise(rng, WALL, 34)
    vessels = draw_vessels(rng) * smooth_step(-0.5, 0.4, smooth_noise(rng, WALL, 170))
    inflamed = smooth_step(0.35, 0.8, smooth_noise(rng, WALL, 85))
    stool = smooth_step(0.55, 0.7, smooth_noise(rng, WALL, 42)) * (0.5 + 0.5 * grain)
    paint = tint(
        (0.82 + 0.4 * crest, base),
        (grain, (0.025, 0.025, 0.025)),
        (blotches, (0.03, 0.045, 0.04)),
        (vessels, (-0.16, -0.26, -0.20)),
        (inflamed, (-0.02, -0.14, -0.11)),
        (stool, (-0.1, 0.06, -0.18)),
    )
    return paint, grain, base


def draw_vessels(rng: Random) -> Array:
    """Branching vessels, float32 in 0..1 of shape `WALL`."""
    canvas = np.zeros(WALL, np.uint8)
    for _ in range(70):
        start, heading = rng.uniform(0, 1, 2) * WALL[::-1], rng.uniform(0, 2 * np.pi)
        for thick, steps in ((2, 26), (1, 18), (1, 18), (1, 12), (1, 12)):
            turns = heading + np.cumsum(rng.normal(0, 0.28, steps))
            path = start + 5 * np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0)
            points = np.round(path * 8).astype(np.int32)
            cv2.polylines(canvas, [points], False, 110 + 70 * thick, thick, cv2.LINE_AA, 3)
            fork = rng.integers(steps // 3, steps)
            start, heading = path[fork], turns[fork] + rng.choice([-0.8, 0.8])
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.8), np.float32) / 255
