"""Finding stretches of bad frames in a recording: blurred, dark, overexposed, full of glare.

Segmenting through such stretches is what a memory is for, and subsets of "consecutive
low-quality frames" in the literature are not published. This definition needs the frames only,
so that anyone can build the same subset.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from sali.metrics.counted_frame import BoolArray, ByteArray

# Frames are measured at one size: the Laplacian depends on the scale.
_LONG_SIDE = 320
_VISIBLE = 12
_DARK = 40
_CLIPPED = 250
_GLARE_BRIGHTNESS = 200
_GLARE_SATURATION = 60


class FrameQuality(NamedTuple):
    """Measures of one frame, each independent of its size.

    Attributes:
        sharpness: Variance of the Laplacian over the variance of the brightness (Pech-Pacheco et
            al., "Diatom autofocusing in brightfield microscopy", ICPR 2000; the division makes it
            independent of contrast). Small when blurred. 0 for a frame of one colour.
        dark: Share of pixels with a brightness below 40 of 255.
        clipped: Share of pixels with all three channels at 250 or more.
        glare: Share of specular pixels: bright (largest channel 200 or more) but colourless
            (saturation 60 or less of 255), as mucosa is red (cf. Oh et al., "Informative frame
            classification for endoscopy video", Medical Image Analysis 2007).
    """

    sharpness: float
    dark: float
    clipped: float
    glare: float


@dataclass(frozen=True)
class QualityLimits:
    """A frame is bad when at least one limit is broken.

    Each default marks at most about one frame in a hundred of CVC-ClinicDB, a collection of
    clear frames; none was tuned on a method's scores. Cameras differ: look at the frames found
    and set your own.
    """

    min_sharpness: float = 0.01
    max_dark: float = 0.6
    max_clipped: float = 0.1
    max_glare: float = 0.1

    def broken_by(self, quality: FrameQuality) -> tuple[str, ...]:
        """Name the measures that are out of bounds; empty for a good frame."""
        broken = {
            "sharpness": quality.sharpness < self.min_sharpness,
            "dark": quality.dark > self.max_dark,
            "clipped": quality.clipped > self.max_clipped,
            "glare": quality.glare > self.max_glare,
        }
        return tuple(name for name, is_broken in broken.items() if is_broken)


def frame_quality(frame: ByteArray, field_of_view: BoolArray | None = None) -> FrameQuality:
    """Measure one frame.

    Args:
        frame: RGB, uint8 [H, W, 3].
        field_of_view: The part that shows tissue, bool [H, W]; the whole frame if None. Without it
            the black border of an endoscope's picture counts as dark.

    Raises:
        ValueError: If an array is not as stated or the field of view is empty.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(
            f"frame: got {frame.dtype} {frame.shape}, wanted uint8 [H, W, 3] in RGB order"
        )
    if field_of_view is None:
        field_of_view = np.ones(frame.shape[:2], np.bool_)
    if field_of_view.shape != frame.shape[:2] or not field_of_view.any():
        raise ValueError(
            f"field_of_view: got shape {field_of_view.shape} with {field_of_view.sum()} pixels, "
            f"wanted {frame.shape[:2]} with at least one"
        )
    scale = _LONG_SIDE / max(frame.shape[:2])
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    visible = cv2.resize(field_of_view.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).view(
        np.bool_
    )
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    laplacian = cv2.Laplacian(grey, cv2.CV_64F)
    # Next to the border of the field of view the Laplacian sees the border, not the tissue.
    interior = cv2.erode(visible.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)
    interior = interior if interior.any() else visible
    contrast = float(grey[interior].var())
    pixels = small[visible].astype(np.int32)
    highest, lowest = pixels.max(axis=1), pixels.min(axis=1)
    # Saturation as in HSV, (highest - lowest) / highest x 255, without the division.
    colourless = (highest - lowest) * 255 <= _GLARE_SATURATION * highest
    return FrameQuality(
        sharpness=float(laplacian[interior].var()) / contrast if contrast else 0.0,
        dark=float((grey[visible] < _DARK).mean()),
        clipped=float((lowest >= _CLIPPED).mean()),
        glare=float(((highest >= _GLARE_BRIGHTNESS) & colourless).mean()),
    )


def field_of_view(frames: Iterable[ByteArray]) -> BoolArray:
    """Find the part of the picture that shows tissue: pixels that are ever brighter than 12.

    Args:
        frames: RGB, uint8 [H, W, 3], of one clip; a dozen spread over it are enough.

    Returns:
        bool [H, W].
    """
    brightest = [frame.max(axis=2) for frame in frames]
    if not brightest:
        raise ValueError("frames: got none, wanted at least one frame of the clip")
    return np.asarray(np.max(brightest, axis=0) > _VISIBLE)


def consecutive_runs(flags: Iterable[bool], min_length: int = 5) -> list[tuple[int, int]]:
    """Find runs of consecutive flagged frames, of at least `min_length` frames.

    Returns:
        (start, stop) of each run, stop not included, in order.
    """
    if min_length < 1:
        raise ValueError(f"min_length: got {min_length}, wanted at least 1")
    padded = np.concatenate([[False], np.fromiter(flags, np.bool_), [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)
    return [(int(start), int(stop)) for start, stop in edges if stop - start >= min_length]
