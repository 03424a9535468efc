"""A case: the wall and the polyp which all its clips show."""

from typing import NamedTuple

import numpy as np

from sali.data.synthetic.polyp import SHAPES, Polyp, draw_polyp, grow
from sali.data.synthetic.primitives import Array, smooth_noise, smooth_step
from sali.data.synthetic.wall import PER_UNIT, WALL, draw_wall


class Case(NamedTuple):
    """What all clips of one case share; the pictures are float32.

    Attributes:
        relief: [along, around], inward height of the wall.
        surface: [along, around, 4], relief, its slopes along and around, wetness.
        paint: [along, around, 3], RGB in 0..1.
        member: [along, around], 1 on the polyp, 0 elsewhere; 0 on a stalked polyp's place.
        polyp: the polyp itself.
    """

    relief: Array
    surface: Array
    paint: Array
    member: Array
    polyp: Polyp


def draw_case(seed: int, case: int, with_polyp: bool) -> Case:
    """Draw the wall and the polyp of one case; depends on nothing but its arguments."""
    rng = np.random.default_rng([seed, case])
    wall = draw_wall(rng)
    shape = list(SHAPES)[case % len(SHAPES)] if with_polyp else ""
    polyp = draw_polyp(rng, shape, wall.base)
    member = grow(polyp, wall)
    # Only the light sees these bumps.
    bumpy = wall.relief + 0.006 * wall.grain + 0.012 * smooth_noise(rng, WALL, 17)
    damp = smooth_noise(rng, WALL, 18) + smooth_noise(rng, WALL, 10) + smooth_noise(rng, WALL, 70)
    slopes = np.gradient(bumpy, 1 / PER_UNIT)
    surface = np.dstack([wall.relief, *slopes, smooth_step(0, 1, damp)])
    polyp = polyp._replace(skin=np.clip(polyp.skin, 0, 1))
    return Case(wall.relief, surface, np.clip(wall.paint, 0.02, 1), member, polyp)
