"""The polyp: its shape and skin, and how it grows out of the wall."""

from typing import NamedTuple

import numpy as np

from sali.data.synthetic.primitives import Array, Random, smooth_noise, smooth_step, tint
from sali.data.synthetic.wall import ALONG, AROUND, WALL, Wall

SHAPES = {"sessile": 0.30, "pedunculated": 0.20, "flat": 0.38}  # kinds of polyp and their radius
POLYP_AT = 5.0  # position of the polyp along the tube


class Polyp(NamedTuple):
    """A polyp, or the place where there could be one.

    Attributes:
        shape: a key of `SHAPES`, or "" if there is none.
        around: its angle on the wall.
        size: its radius around the tube.
        aspect: its radius along the tube, in sizes.
        lobes: [3], phases of its outline.
        pits: float32 [along, around], its fine relief.
        knobs: float32 [along, around], its coarse relief.
        skin: float32 [along, around, 3], RGB.
    """

    shape: str
    around: float
    size: float
    aspect: float
    lobes: Array
    pits: Array
    knobs: Array
    skin: Array


def draw_polyp(rng: Random, shape: str, base: Array) -> Polyp:
    """Draw the polyp of one case; `base` is the RGB of the wall."""
    around, lobes = rng.uniform(0, 2 * np.pi), rng.uniform(0, 6.3, 3).astype(np.float32)
    size, aspect = SHAPES.get(shape, 1.0) * rng.uniform(0.85, 1.25), rng.uniform(0.85, 1.2)
    colour = base * 0.92 + rng.uniform(-1, 1) * np.array([0.03, 0.08, 0.07]) - [0, 0.05, 0.04]
    pits = smooth_noise(rng, WALL, 12) + 0.5 * smooth_noise(rng, WALL, 6)
    knobs = smooth_noise(rng, WALL, 32)
    skin = tint((np.ones(WALL), colour), (pits + knobs, (0.05, 0.06, 0.05)))
    return Polyp(shape, around, size, aspect, lobes, pits, knobs, skin)


def lobed_distance(x: Array, y: Array, lobes: Array, depth: float) -> Array:
    """Distance from the middle of a lobed blob, 1 on its outline."""
    angle = np.arctan2(y, x)
    waves = sum(np.sin(n * angle + lobes[i]) / n for i, n in enumerate((2, 3, 5)))
    return np.asarray(np.hypot(x, y) / (1 + depth * waves), np.float32)


def grow(polyp: Polyp, wall: Wall) -> Array:
    """Let the polyp grow out of the wall, whose relief and paint change in place.

    Of a stalked polyp only the place is prepared; `sali.data.synthetic.stalk` adds it to the view.

    Returns:
        float32 [along, around], 1 where the wall is polyp and 0 elsewhere.
    """
    relief, paint = wall.relief, wall.paint
    if not polyp.shape:
        return np.zeros(WALL, np.float32)
    x = ((AROUND - polyp.around + np.pi) % (2 * np.pi) - np.pi) / polyp.size
    y = (ALONG - POLYP_AT) / (polyp.size * polyp.aspect)
    q = lobed_distance(x, y, polyp.lobes, 0.3 if polyp.shape == "flat" else 0.16)
    relief *= smooth_step(0.5, 2.0, q)  # the polyp takes up the wall it grew from
    if polyp.shape == "pedunculated":
        return np.zeros(WALL, np.float32)
    if polyp.shape == "sessile":
        relief += np.clip(1 - q * q, 0, 1) ** 0.6 * (1.05 * polyp.size + 0.06 * polyp.knobs)
    else:
        relief += smooth_step(1.0, 0.75, q) * (0.07 + 0.03 * polyp.knobs)
    relief += 0.015 * polyp.pits * (q < 1)
    member = smooth_step(1.02, 0.98, q)
    paint *= (1 - 0.2 * np.exp(-np.square((q - 1.05) / 0.12)))[..., None]  # its shadow
    paint += 0.85 * member[..., None] * (polyp.skin - paint)
    return member
