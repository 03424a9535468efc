"""Runs of bad frames: motion blur, defocus, glare, bubbles, debris."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from sali.data.synthetic.primitives import Array, Random, smooth_noise, smooth_step, tint


class Disturbance(NamedTuple):
    """What is wrong with one frame.

    Attributes:
        kind: a key of `KINDS`.
        strength: in 0..1.
        age: frames since the run began.
        seed: the same for all frames of a run.
    """

    kind: str
    strength: float
    age: int
    seed: int


def bad_runs(rng: Random, hard: bool) -> Iterator[Disturbance | None]:
    """Without end, what is wrong with the next frame; `hard` for more, longer and worse runs."""
    pause, longest, worst = (9, 10, 1.0) if hard else (40, 6, 0.6)
    while True:
        yield from [None] * (5 + int(rng.exponential(pause)))
        kind, frames = str(rng.choice(list(KINDS))), int(rng.integers(3, longest))
        peak, seed = worst * rng.uniform(0.6, 1.0), int(rng.integers(2**31))
        for age in range(frames):
            strength = float(peak * np.sin(np.pi * (age + 0.7) / (frames + 0.4)) ** 0.5)
            yield Disturbance(kind, strength, age, seed)


def spoil(colour: Array, member: Array, bad: Disturbance) -> tuple[Array, Array]:
    """Degrade one frame; the mask changes only where something opaque covers the polyp.

    Args:
        colour: float32 [H, W, 3], RGB.
        member: bool [H, W], whether it shows the polyp.
        bad: what to do to them.

    Returns:
        `colour` and `member` of the bad frame.
    """
    return KINDS[bad.kind](colour, member, bad, np.random.default_rng(bad.seed))


def motion(colour: Array, member: Array, bad: Disturbance, rng: Random) -> tuple[Array, Array]:
    """Blur along a slowly turning line."""
    turn = rng.uniform(0, 2 * np.pi)
    half = int(2 + bad.strength * 0.06 * member.shape[0])
    size = (2 * half + 1, 2 * half + 1)
    line = np.arange(size[0])[:, None].repeat(size[0], 1) == half
    spin = cv2.getRotationMatrix2D((half, half), np.degrees(turn + 0.2 * bad.age), 1.0)
    kernel = cv2.warpAffine(line.astype(np.float32), spin, size)
    return cv2.filter2D(colour, -1, kernel / kernel.sum()), member


def defocus(colour: Array, member: Array, bad: Disturbance, rng: Random) -> tuple[Array, Array]:
    """Blur in all directions."""
    return cv2.GaussianBlur(colour, (0, 0), 0.5 + 0.017 * member.shape[0] * bad.strength), member


def glare(colour: Array, member: Array, bad: Disturbance, rng: Random) -> tuple[Array, Array]:
    """Overexposure which bleeds into the surroundings."""
    reach = member.shape[0] // 6
    hot = colour * (1 + 1.6 * bad.strength)
    return hot + 0.6 * bad.strength * cv2.blur(hot, (reach, reach)), member


def bubbles(colour: Array, member: Array, bad: Disturbance, rng: Random) -> tuple[Array, Array]:
    """Drifting bubbles in a thin veil of foam."""
    height, width = member.shape
    turn = rng.uniform(0, 2 * np.pi)
    layer = np.zeros((height, width), np.uint8)
    flow = 0.012 * height * bad.age * np.array([np.cos(turn), np.sin(turn)])
    for _ in range(int(8 + 50 * bad.strength)):
        at = (rng.uniform(-0.1, 1.1, 2) * (width, height) + flow) * 8
        ball = rng.uniform(0.012, 0.06) * height * 8
        for shift, part, shade, thick in ((0, 1, 90, 2), (-0.4, 0.2, 255, -1)):
            spot = [int(v + shift * ball) for v in at]
            cv2.circle(layer, spot, int(part * ball), shade, thick, cv2.LINE_AA, 3)
    glints = cv2.GaussianBlur(layer, (0, 0), 0.7)[..., None] * np.float32(1 / 255)
    return colour * (1 - 0.25 * bad.strength) + 0.12 * bad.strength + glints, member


def debris(colour: Array, member: Array, bad: Disturbance, rng: Random) -> tuple[Array, Array]:
    """A fold or stool that slides over the lens and hides what is behind it."""
    height, width = member.shape
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    edge = x * np.cos(turn) + y * np.sin(turn) + 0.25 * smooth_noise(rng, member.shape, height / 3)
    cover = smooth_step(0.75, 1.0, edge + 1.1 * bad.strength + 0.01 * bad.age)
    rgb = (0.78, 0.36, 0.28) if rng.random() < 0.6 else (0.52, 0.40, 0.16)  # a fold, or stool
    shade = (1 + 0.35 * smooth_noise(rng, member.shape, height / 6)) * (0.5 + 0.35 * edge)
    colour = colour + cover[..., None] * (tint((shade.clip(0.1, 1), rgb)) - colour)
    return colour, member & (cover < 0.5)


Spoiler = Callable[[Array, Array, Disturbance, Random], tuple[Array, Array]]
KINDS: dict[str, Spoiler] = {
    "motion": motion,
    "defocus": defocus,
    "bubbles": bubbles,
    "glare": glare,
    "debris": debris,
}
