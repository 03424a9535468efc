"""The camera: how it moves through the bowel, and how the bowel moves around it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sali.data.synthetic.polyp import POLYP_AT
from sali.data.synthetic.primitives import Array, Random, wander

FOCAL = 0.66  # image heights per radian of viewing angle


class View(NamedTuple):
    """Camera and tissue at one instant.

    Attributes:
        time: in frames.
        along: position of the camera along the tube.
        roll: rotation of the camera.
        x: column of the tube's axis in pixels.
        y: row of the tube's axis in pixels.
        bend: [2], sideways shift of the far tube.
        sway: [2], motion of a stalked polyp along and around.
    """

    time: float
    along: float
    roll: float
    x: float
    y: float
    bend: Array
    sway: Array


def handheld_path(
    rng: Random, around: float, shape: tuple[int, int], hard: bool
) -> Callable[[float], View]:
    """A path over time which nears the polyp, passes it and comes back.

    Args:
        rng: draws the path.
        around: angle of the polyp on the wall.
        shape: height and width of a frame.
        hard: faster motion.
    """
    height, width = shape
    pace = 1.0 if hard else 0.6
    period, phase = rng.uniform(38, 56) / pace, rng.uniform(-0.5, 0.3) * np.pi
    reach, middle = rng.uniform(0.75, 1.0), rng.uniform(0.65, 0.8)
    drift, shake = wander(rng, 30 / pace, 0.2 * pace, 2), wander(rng, 7, 0.02 * pace, 2)
    advance, roll = wander(rng, 25 / pace, 0.15, 1), wander(rng, 90 / pace, 0.5, 1)
    bend, sway = wander(rng, 60 / pace, 0.9, 2), wander(rng, 14, 0.12, 2)

    def view(t: float) -> View:
        distance = middle + reach * np.cos(2 * np.pi * t / period - phase) + float(advance(t)[0])
        turn = around - float(roll(t)[0])
        # The operator steers towards the polyp, but only so far: this is how it gets lost.
        steer = -0.5 * FOCAL * min(np.arctan2(0.8, distance), 1.0)
        x, y = height * (steer * np.array([np.cos(turn), np.sin(turn)]) + drift(t) + shake(t))
        x, y = float(x) + width / 2, float(y) + height / 2
        return View(t, POLYP_AT - distance, around - turn, x, y, bend(t), sway(t))

    return view
