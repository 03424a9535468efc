"""Augmentation of the frames of one sample: one draw for all of them, or one for each."""

from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np

# Worker processes are the parallelism; OpenCV's own threads would only fight over the same cores.
cv2.setNumThreads(0)


class ClipTransform:
    """Augmentation of the frames and masks of one sample.

    Args:
        shared: Transforms drawn once for all frames and masks (geometry).
        colour: Transforms of the frames alone.
        shared_colour: Draw `colour` once for all frames instead of for each.
        bad: Transforms after `colour` that make a frame hard or impossible to read.
        bad_share: Chance that a frame is given one of them.
    """

    def __init__(
        self,
        shared: Sequence[A.BasicTransform],
        colour: Sequence[A.BasicTransform],
        shared_colour: bool,
        bad: Sequence[A.BasicTransform] = (),
        bad_share: float = 0,
    ) -> None:
        self.shared = A.Compose(list(shared))
        one_of = [A.OneOf(list(bad), p=bad_share)] if bad else []
        self.colour = A.Compose([*colour, *one_of])
        self.shared_colour = shared_colour

    def __call__(
        self, frames: np.ndarray, masks: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return augmented copies.

        Args:
            frames: Frames, uint8 [T, H, W, 3].
            masks: Masks of 0 and 1, uint8 [T, H, W].
            rng: Generator that every draw comes from.
        """
        self.shared.set_random_seed(int(rng.integers(2**31)))
        frames, masks = _with_one_draw(self.shared, frames, masks)
        if self.shared_colour:
            self.colour.set_random_seed(int(rng.integers(2**31)))
            return _with_one_draw(self.colour, frames, masks)
        coloured = []
        for frame in frames:
            self.colour.set_random_seed(int(rng.integers(2**31)))
            coloured.append(self.colour(image=frame)["image"])
        return np.stack(coloured), masks


def _with_one_draw(
    compose: A.Compose, frames: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a transform to all frames and masks with the same random numbers.

    Frames are given as targets of their own: as the target `images` they would be transposed into
    one image of many channels and back, which gives the same and takes four times as long.
    """
    names = ["image", *(f"image{i}" for i in range(1, len(frames)))]
    compose.add_targets({name: "image" for name in names[1:]})
    done = compose(**dict(zip(names, frames, strict=True)), masks=masks)
    return np.stack([done[name] for name in names]), done["masks"]


class Sharpness(A.ImageOnlyTransform):
    """Blend of a frame with its 3x3-smoothed self: 0 is smooth, 1 the frame, above 1 sharper.

    Args:
        factor: Range that the factor is drawn from.
        p: Probability.
    """

    KERNEL = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13

    def __init__(self, factor: tuple[float, float], p: float = 1.0) -> None:
        super().__init__(p=p)
        self.factor = tuple(factor)

    def get_params(self) -> dict[str, Any]:
        return {"amount": self.py_random.uniform(*self.factor)}

    def apply(self, img: np.ndarray, amount: float = 1.0, **params: Any) -> np.ndarray:
        smooth = cv2.filter2D(img, -1, self.KERNEL, borderType=cv2.BORDER_REPLICATE)
        return cv2.addWeighted(img, amount, smooth, 1 - amount, 0)


class MaskNoise(A.DualTransform):
    """Salt and pepper on masks only, frames untouched: a quirk of the released recipe.

    Args:
        fraction: Share of the pixels; half become polyp, half background.
        p: Probability.
    """

    def __init__(self, fraction: float, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.fraction = fraction

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        return img

    def apply_to_mask(self, mask: np.ndarray, **params: Any) -> np.ndarray:
        noisy = mask.copy()
        count = round(self.fraction * mask.size)
        where = self.random_generator.integers(0, mask.size, count)
        noisy.flat[where] = self.random_generator.integers(0, 2, count)
        return noisy


class PolypFreeCrop(A.DualTransform):
    """Crop beside the polyps, scaled back to the frame's size: one more sample without a polyp.

    Where no crop of the drawn size misses every polyp, and where there is no polyp at all, the
    frames stay as they are.

    Args:
        side: Range of the crop's sides, as a share of the frame's.
        p: Probability.
    """

    TRIES = 20

    def __init__(self, side: tuple[float, float], p: float = 1.0) -> None:
        super().__init__(p=p)
        self.side = tuple(side)

    @property
    def targets_as_params(self) -> list[str]:
        return ["masks"]

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        polyp = np.any(data["masks"], axis=0)
        height, width = polyp.shape
        for _ in range(self.TRIES if polyp.any() else 0):
            side = self.py_random.uniform(*self.side)
            rows, columns = round(side * height), round(side * width)
            top = self.py_random.randint(0, height - rows)
            left = self.py_random.randint(0, width - columns)
            box = np.s_[top : top + rows, left : left + columns]
            if not polyp[box].any():
                return {"box": box}
        return {"box": None}

    def apply(
        self, img: np.ndarray, box: tuple[slice, slice] | None = None, **params: Any
    ) -> np.ndarray:
        if box is None:
            return img
        height, width = img.shape[:2]
        return cv2.resize(img[box], (width, height), interpolation=cv2.INTER_LINEAR)

    def apply_to_mask(
        self, mask: np.ndarray, box: tuple[slice, slice] | None = None, **params: Any
    ) -> np.ndarray:
        return mask if box is None else np.zeros_like(mask)
