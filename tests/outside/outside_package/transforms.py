"""A transform from outside."""

from typing import Any

import albumentations as A
import numpy as np


class Vignette(A.ImageOnlyTransform):
    """Darken a frame towards its corners, as a cheap lens does.

    Args:
        strength: Share of the light that is missing in the corners.
        p: Probability of the transform.
    """

    def __init__(self, strength: float, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.strength = strength

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        """Return the darkened uint8 [H, W, 3]."""
        rows, columns = (np.linspace(-1, 1, size) ** 2 for size in img.shape[:2])
        light = 1 - self.strength * (rows[:, None] + columns) / 2
        return (img * light[..., None]).astype(img.dtype)
