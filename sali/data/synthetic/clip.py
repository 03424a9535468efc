"""A clip: one way through a case, frame by frame."""

from collections.abc import Iterator

import cv2
import numpy as np

from sali.data.synthetic.camera import handheld_path
from sali.data.synthetic.case import draw_case
from sali.data.synthetic.disturbances import bad_runs, spoil
from sali.data.synthetic.primitives import Array, smooth_step
from sali.data.synthetic.projection import project_wall
from sali.data.synthetic.stalk import add_stalked


def draw_clip(
    seed: int,
    case: int,
    segment: int,
    length: int,
    height: int,
    width: int,
    hard: bool = False,
    polyp: bool = True,
) -> Iterator[tuple[Array, Array]]:
    """Draw one clip frame by frame.

    Args:
        seed: seed of the data set.
        case: number of the case; it decides the look of the wall and of the polyp.
        segment: number of the clip in its case; it decides the camera path and the bad frames.
        length: number of frames; a longer clip begins with the frames of a shorter one.
        height: frame height in pixels.
        width: frame width in pixels.
        hard: faster motion and more, longer and worse runs of bad frames.
        polyp: whether there is a polyp at all.

    Yields:
        Frame, uint8 RGB [height, width, 3], and mask, uint8 [height, width] of 0 and 255.
    """
    drawn = draw_case(seed, case, polyp)
    path_rng, run_rng, noise_rng = np.random.default_rng([seed, case, segment]).spawn(3)
    path = handheld_path(path_rng, drawn.polyp.around, (height, width), hard)
    runs = bad_runs(run_rng, hard)
    port, lens = octagon(height, width)
    # One oversized noise picture, shifted for every frame, is much cheaper than fresh noise.
    grain = noise_rng.normal(0, 0.012, (height + 64, width + 64, 3)).astype(np.float32)
    for t, bad in zip(range(length), runs, strict=False):
        view = path(t)
        picture = project_wall(drawn, view, (height, width))
        if drawn.polyp.shape == "pedunculated":
            add_stalked(drawn.polyp, view, picture)
        colour, member = picture.colour, picture.member
        if bad:
            colour, member = spoil(colour, member, bad)
        top, left = noise_rng.integers(0, 64, 2)
        colour = np.clip(colour, 0, 1) + grain[top : top + height, left : left + width]
        frame = cv2.GaussianBlur(colour * (lens[..., None] * 255), (3, 3), 0.6)
        yield np.clip(frame, 0, 255).astype(np.uint8), (member & port).astype(np.uint8) * 255


def octagon(height: int, width: int) -> tuple[Array, Array]:
    """The octagon that the scope shows, bool [H, W], and its brightness, float32 [H, W].

    The scope's lamp and lens leave the rim darker.
    """
    y, x = np.abs(np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32))
    beyond = np.maximum(np.maximum(x, y) - 0.97, (x + y - 1.6) / np.float32(np.sqrt(2)))
    lens = smooth_step(0.5 / height, -2.5 / height, beyond)
    return beyond < 0, lens * (1 - 0.3 * np.square(x * x + y * y))
