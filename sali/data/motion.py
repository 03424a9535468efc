"""Short clips of a still: smooth simulated motion of the camera, the wall and the light."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sali.data.frames import Bytes


@dataclass(frozen=True)
class StillMotion:
    """Frames of a still at other times, by a motion of constant speed.

    At time 0 a frame is the still itself. All numbers, which configs/data/sun_seg.yaml explains,
    are per frame and drawn from -value to value.
    """

    translate: float
    rotate: float
    scale: float
    bend: float
    knots: int
    light: float

    def __call__(
        self, frame: Bytes, mask: Bytes, times: Sequence[int], rng: np.random.Generator
    ) -> tuple[list[Bytes], list[Bytes]]:
        """Return a still [H, W, 3] and its mask [H, W] of 0 and 1 at several times of one motion.

        Times are in frames; 0 is the still, negative ones are before it.
        """
        drawn = {
            "shift": rng.uniform(-self.translate, self.translate, 2),
            "angle": rng.uniform(-self.rotate, self.rotate),
            "growth": rng.uniform(-self.scale, self.scale),
            "field": rng.uniform(-self.bend, self.bend, (2, self.knots, self.knots)),
            "light": rng.uniform(-self.light, self.light),
        }
        moved = [self._at(frame, mask, time, drawn) for time in times]
        return [one for one, _ in moved], [one for _, one in moved]

    def _at(
        self, frame: Bytes, mask: Bytes, time: int, drawn: Mapping[str, Any]
    ) -> tuple[Bytes, Bytes]:
        if time == 0:
            return frame, mask
        height, width = mask.shape
        size = np.array([width, height])
        affine = cv2.getRotationMatrix2D(
            (width / 2, height / 2),
            float(drawn["angle"] * time),
            float(1 + drawn["growth"]) ** time,
        )
        affine[:, 2] += drawn["shift"] * size * time
        inverse = cv2.invertAffineTransform(affine)
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        points = np.stack([columns, rows, np.ones_like(rows)]).astype(np.float32)
        where = np.tensordot(inverse.astype(np.float32), points, axes=1)
        for axis in range(2):
            field = drawn["field"][axis].astype(np.float32) * time * size[axis]
            where[axis] += cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
        # Beyond its border a frame is black, as an endoscope's picture is.
        moved = cv2.remap(frame, where[0], where[1], cv2.INTER_LINEAR)
        lit = cv2.convertScaleAbs(moved, alpha=max(0.0, 1 + drawn["light"] * time))
        return lit, cv2.remap(mask, where[0], where[1], cv2.INTER_NEAREST)
