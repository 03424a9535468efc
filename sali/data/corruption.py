"""Bad frames: transforms that make a frame unreadable, and seeded runs of them in clips."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import albumentations as A
import cv2
import numpy as np

from sali.data.index import Clip
from sali.errors import ConfigError


class Cover(A.ImageOnlyTransform):
    """Soft-edged patches over a frame, as of stool, bubbles or the wall at the lens.

    Args:
        patches: Smallest and largest number of patches.
        radius: Range of the patches' half axes, as a share of the shorter side.
        red: Range of the patches' red value, 0 to 255; likewise `green` and `blue`.
        green: Range of green.
        blue: Range of blue.
        p: Probability.
    """

    def __init__(
        self,
        patches: tuple[int, int],
        radius: tuple[float, float],
        red: tuple[float, float],
        green: tuple[float, float],
        blue: tuple[float, float],
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        self.patches = tuple(patches)
        self.radius = tuple(radius)
        self.colour = (tuple(red), tuple(green), tuple(blue))

    def get_params(self) -> dict[str, Any]:
        draw = self.py_random
        colour = [draw.uniform(*channel) for channel in self.colour]
        patches = [
            {
                "center": (draw.random(), draw.random()),
                "axes": (draw.uniform(*self.radius), draw.uniform(*self.radius)),
                "angle": draw.uniform(0, 180),
            }
            for _ in range(draw.randint(*self.patches))
        ]
        return {"drawn": patches, "colour_drawn": colour}

    def apply(
        self,
        img: np.ndarray,
        drawn: Sequence[Mapping[str, Any]] = (),
        colour_drawn: Sequence[float] = (0, 0, 0),
        **params: Any,
    ) -> np.ndarray:
        height, width = img.shape[:2]
        side = min(height, width)
        cover = np.zeros((height, width), np.float32)
        for one in drawn:
            center = (round(one["center"][0] * width), round(one["center"][1] * height))
            axes = (max(1, round(one["axes"][0] * side)), max(1, round(one["axes"][1] * side)))
            cv2.ellipse(cover, center, axes, one["angle"], 0, 360, 1.0, thickness=-1)
        cover = cv2.GaussianBlur(cover, (0, 0), side / 40)[..., None]
        # A third of the frame's own contrast stays on the patch: what covers a lens has texture.
        patch = np.asarray(colour_drawn, np.float32) + (img.astype(np.float32) - img.mean()) / 3
        return (img * (1 - cover) + patch * cover).clip(0, 255).astype(np.uint8)


@dataclass(eq=False, repr=False)
class BadRuns:
    """Seeded runs of bad frames in clips, the same ones for every network.

    Attributes:
        kinds: Transforms of a frame by name; one of them is drawn for each run.
        length: Smallest and largest number of frames of a run.
        gap: Smallest and largest number of readable frames before each run.
        seed: Seed of runs and transforms; a clip's name is the other part of it.

    Raises:
        ConfigError: No kind, or ranges that are empty or below 1.
    """

    kinds: Mapping[str, A.BasicTransform]
    length: Sequence[int]
    gap: Sequence[int]
    seed: int

    def __post_init__(self) -> None:
        for name, (low, high) in {"length": self.length, "gap": self.gap}.items():
            if not 1 <= low <= high:
                raise ConfigError(
                    f"corruption.{name}: got {[low, high]}, wanted a range of 1 or more"
                )
        if not self.kinds:
            raise ConfigError("corruption.kinds is empty; wanted a transform by name")
        self._transforms = {name: A.Compose([kind]) for name, kind in self.kinds.items()}

    def runs(self, clip: str, frames: int) -> Iterator[tuple[int, int, str]]:
        """Yield (first frame, frame after the last, kind) of every run in a clip, by its length.

        A run that the clip would cut short is left out. Folders before its name do not count.
        """
        rng = np.random.default_rng([self.seed, _number(clip)])
        names = sorted(self.kinds)
        end = 0
        while True:
            start = end + int(rng.integers(self.gap[0], self.gap[1] + 1))
            end = start + int(rng.integers(self.length[0], self.length[1] + 1))
            kind = names[int(rng.integers(len(names)))]
            if end > frames:
                return
            yield start, end, kind

    def table(self, clips: Iterable[Clip]) -> dict[str, list[tuple[str, str, str]]]:
        """Return (name of the first frame, of the last one, kind) of every run, by clip."""
        return {
            clip.name: [
                (clip.stems[start], clip.stems[end - 1], kind)
                for start, end, kind in self.runs(clip.name, len(clip))
            ]
            for clip in clips
        }

    def kind_of(self, clip: str, number: int, frames: int) -> str | None:
        """Return the kind of frame `number`, from 0, of a clip; None if it stays as it is."""
        runs = self.runs(clip, frames)
        return next((kind for start, end, kind in runs if start <= number < end), None)

    def __call__(self, frame: np.ndarray, clip: str, number: int, frames: int) -> np.ndarray:
        """Return a frame uint8 [H, W, 3], corrupted if a run covers it; see `kind_of`."""
        kind = self.kind_of(clip, number, frames)
        if kind is None:
            return frame
        transform = self._transforms[kind]
        draw = np.random.default_rng([self.seed, _number(clip), number])
        transform.set_random_seed(int(draw.integers(2**31)))
        return np.asarray(transform(image=frame)["image"])


def _number(clip: str) -> int:
    return zlib.crc32(PurePath(clip).name.encode())
