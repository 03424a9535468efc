"""The stalked polyp: a lit ball on a stem, which overhangs the wall."""

import numpy as np

from sali.data.synthetic.camera import FOCAL, View
from sali.data.synthetic.polyp import POLYP_AT, Polyp, lobed_distance
from sali.data.synthetic.primitives import Array, look_up, smooth_step
from sali.data.synthetic.projection import Picture, lamp_light, tube_radius


def add_stalked(polyp: Polyp, view: View, picture: Picture) -> None:
    """Add the ball and its stem to the picture in place, hidden where the wall is nearer."""
    focal = FOCAL * picture.distance.shape[0]
    z, theta = POLYP_AT - view.along, polyp.around - view.roll
    wall = float(tube_radius(view, theta, z, 0.0))

    def project(radius: float, z: float, theta: float) -> tuple[Array, float]:
        from_axis = focal * np.arctan2(radius, z) * np.array([np.cos(theta), np.sin(theta)])
        return from_axis + np.array([view.x, view.y]), float(np.hypot(radius, z))

    foot, foot_far = project(wall, z, theta)
    head, far = project(wall - 2.2 * polyp.size, z - 0.1 + view.sway[0], theta + view.sway[1])
    ball = focal * polyp.size / far  # pixels
    left, top = np.maximum(np.minimum(head, foot) - 1.4 * ball, 0).astype(int)
    right, bottom = np.maximum(np.maximum(head, foot) + 1.4 * ball, 0).astype(int)
    colour, distance, member = (part[top:bottom, left:right] for part in picture)
    if not member.size:
        return
    y, x = np.indices(member.shape, np.float32)
    x, y = (x + np.float32(left - head[0])) / ball, (y + np.float32(top - head[1])) / ball
    stem = (foot - head) / ball
    t = np.clip((x * stem[0] + y * stem[1]) / (stem @ stem), 0, 1)
    off = np.hypot(x - t * stem[0], y - t * stem[1]) / 0.36
    q = lobed_distance(x, y, polyp.lobes + np.float32(theta), 0.12)
    stem_far = far + t * (foot_far - far) - 0.4 * polyp.size
    ball_far = np.full_like(q, far - polyp.size)
    for inside, scale, depth in ((off, 5.0, stem_far), (q, 26.0, ball_far)):
        facing = np.sqrt(np.clip(0.9 - 0.9 * np.square(inside), 0, 1))
        warp = (scale * (1.5 - 0.5 * facing)).astype(np.float32)
        skin = look_up(polyp.skin, x * warp, y * warp)
        bump = skin.mean(2) - skin.mean()
        wet = smooth_step(-0.02, 0.05, bump)
        on = (inside < 1) & (depth < distance)
        colour[on] = lamp_light(skin, np.clip(facing + bump, 0, 1), depth, wet)[on]
        distance[on], member[on] = depth[on], True
