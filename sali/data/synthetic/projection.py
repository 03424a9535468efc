"""What the camera sees: the wall in perspective, lit by the scope's lamp."""

from typing import Any, NamedTuple

import cv2
import numpy as np

from sali.data.synthetic.camera import FOCAL, View
from sali.data.synthetic.case import Case
from sali.data.synthetic.primitives import Array, look_up, smooth_step
from sali.data.synthetic.wall import PER_UNIT

RAYS = 448  # directions around the lumen
DEPTH = (1 / np.tan(np.linspace(2.06, 0.12, 192))).astype(np.float32)  # samples along each ray


class Picture(NamedTuple):
    """A frame in the making.

    Attributes:
        colour: float32 [H, W, 3], RGB.
        distance: float32 [H, W], from the camera.
        member: bool [H, W], whether it shows the polyp.
    """

    colour: Array
    distance: Array
    member: Array


def tube_radius(view: View, theta: Any, z: Any, relief: Any) -> Array:
    """Distance of the wall from the viewing axis: relief, a travelling squeeze and the bend."""
    squeeze = 1 + 0.06 * np.sin(2.2 * (z + view.along) - 0.15 * view.time)
    far = 0.7 - 0.7 * np.exp(-np.square(np.maximum(z, 0) / 2.5))
    sideways = view.bend[0] * np.cos(theta) + view.bend[1] * np.sin(theta)
    return np.asarray(np.maximum((1 - relief) * squeeze + far * sideways, 0.03), np.float32)


def lamp_light(paint: Array, facing: Array, distance: Array, wet: Array) -> Array:
    """Colour under the scope's lamp, [..., 3]; `facing` is 1 where the surface faces the lamp."""
    light = 5.6 * (0.2 + 0.8 * facing) / (np.square(distance) + 1.7)
    # Light that bounced deep in the bowel has lost its green and blue.
    fade = np.exp(-distance[..., None] * np.array([0.02, 0.12, 0.15], np.float32))
    shine = 1.2 * smooth_step(0.965, 1.0, facing) * wet / (0.6 + distance)
    return np.asarray(1 - np.exp(-paint * fade * light[..., None]) + shine[..., None], np.float32)


def project_wall(case: Case, view: View, shape: tuple[int, int]) -> Picture:
    """The wall as seen from `view` in a frame of `shape` (height, width)."""
    seen = visible_depth(case, view, shape)
    z, theta = unroll(seen, view, shape)
    rise, along, around, wet = cv2.split(on_wall(case.surface, view, theta, z))
    radius = 1 - rise
    distance = cv2.magnitude(radius, z)
    facing = (radius + z * along) / (distance * np.sqrt(1 + along * along + around * around))
    paint = on_wall(case.paint, view, theta, z)
    colour = lamp_light(paint, np.clip(facing, 0, 1), distance, wet)
    return Picture(colour, distance, on_wall(case.member, view, theta, z) > 0.5)


def on_wall(picture: Array, view: View, theta: Array, z: Array) -> Array:
    """A picture [along, around] of the wall at directions `theta` and depths `z` of a view."""
    along = np.float32(view.along) + z
    twist = 0.06 * np.sin(1.3 * along + np.float32(0.11 * view.time))
    around = theta + np.float32(view.roll) + twist
    return look_up(picture, around * PER_UNIT, along * PER_UNIT)


def visible_depth(case: Case, view: View, shape: tuple[int, int]) -> Array:
    """Depth of the wall seen at each pixel distance from the axis, float32 [RAYS, distance]."""
    height, width = shape
    theta = np.linspace(0, 2 * np.pi, RAYS, endpoint=False, dtype=np.float32)[:, None]
    deep = np.broadcast_to(DEPTH, (RAYS, len(DEPTH)))
    relief = on_wall(case.relief, view, theta, deep)
    angle = np.arctan2(tube_radius(view, theta, DEPTH, relief), deep)
    angle = np.minimum.accumulate(angle, axis=1)  # a near fold hides all that is further out

    # Invert angle(depth) for all rays in one call: each ray gets its own stretch of the axis.
    corner = np.hypot(width + abs(2 * view.x - width), height + abs(2 * view.y - height)) / 2
    wanted = np.arange(int(corner) + 2)[None] / (FOCAL * height)
    wanted = np.clip(wanted, angle[:, -1:], angle[:, :1])
    stretch = 4.0 * np.arange(RAYS)[:, None]
    known = (angle[:, ::-1] + stretch).ravel()
    seen = np.interp((wanted + stretch).ravel(), known, np.tile(DEPTH[::-1], RAYS))
    return seen.reshape(wanted.shape).astype(np.float32)


def unroll(seen: Array, view: View, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Depth and direction of every pixel, float32 `shape`, from `visible_depth`."""
    height, width = shape
    x = np.arange(width, dtype=np.float32)[None].repeat(height, 0) - np.float32(view.x)
    y = np.arange(height, dtype=np.float32)[:, None].repeat(width, 1) - np.float32(view.y)
    r, theta = cv2.cartToPolar(x, y)
    row = theta * np.float32(RAYS / (2 * np.pi))
    # A depth blended across the edge of a fold would lie on hidden wall: take one side there.
    box = np.ones((3, 3), np.uint8)
    near, far = (look_up(f(seen, box), r, row, cv2.INTER_NEAREST) for f in (cv2.erode, cv2.dilate))
    z = look_up(seen, r, row)
    z = np.where(far - near < 0.15, z, np.where(z - near < far - z, near, far))
    return z, theta
