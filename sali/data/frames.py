"""Reading and resizing frames and masks."""

from pathlib import Path

import numpy as np
from PIL import Image

from sali.errors import FrameError

MID_GREY = 128


def read_frame(path: Path, near: int | None = None) -> tuple[np.ndarray, tuple[int, int]]:
    """A frame as RGB, and its true size.

    Args:
        path: image file.
        near: side in pixels that the frame will be resized to. JPEGs are then decoded at the
            smallest of 1/1, 1/2, 1/4, 1/8 that is not below it, which costs a fraction of the
            time. None decodes in full.

    Returns:
        uint8 [h, w, 3], and (H, W) of the file.

    Raises:
        FrameError: not a readable image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if near is not None:
                image.draft("RGB", (near, near))
            return np.array(image.convert("RGB")), (height, width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FrameError(f"cannot read frame {path}: {error}") from error


def read_mask(path: Path) -> np.ndarray:
    """A mask as 0/1 uint8 [H, W]: grey 128 and above is polyp.

    Raises:
        FrameError: not a readable image, or one that is not black and white at 8 bits.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise FrameError(f"mask {path} has mode {image.mode}; wanted 8-bit grey, 0 and 255")
            grey = np.asarray(image.convert("L"))
    except (OSError, SyntaxError) as error:
        raise FrameError(f"cannot read mask {path}: {error}") from error
    if 0 < grey.max() < MID_GREY:
        raise FrameError(
            f"mask {path} has no value above {grey.max()}; wanted 0 and 255 (is it stored as 0/1?)"
        )
    return (grey >= MID_GREY).astype(np.uint8)


def check_size(frame: Path, size: tuple[int, int], mask_path: Path, mask: np.ndarray) -> None:
    """Refuse a mask that is not of its frame's size (H, W).

    Raises:
        FrameError: the sizes differ.
    """
    if mask.shape != size:
        raise FrameError(
            f"mask {mask_path} is {mask.shape[0]}x{mask.shape[1]} but its frame {frame.name} is "
            f"{size[0]}x{size[1]} (height x width)"
        )


def resize_frame(frame: np.ndarray, side: int) -> np.ndarray:
    """uint8 [H, W, 3] -> [side, side, 3], PIL's antialiased bilinear, as torchvision's Resize."""
    if frame.shape[:2] == (side, side):
        return frame
    return np.array(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """0/1 [H, W] -> 0/1 [side, side]: a pixel is polyp if half of it is."""
    if mask.shape == (side, side):
        return mask
    grey = Image.fromarray(mask * np.uint8(255)).resize((side, side), Image.Resampling.BILINEAR)
    return (np.asarray(grey) >= MID_GREY).astype(np.uint8)
