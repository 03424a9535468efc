"""Reading and resizing frames, masks and maps: the only place where image files are decoded."""

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sali.errors import FrameError

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

POLYP_ABOVE = 128
"""Grey value of a mask above which a pixel is polyp (VPS toolbox protocol)."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_GREY, _PNG_COLOUR, _PNG_PALETTE = 0, 2, 3
_TAIL_BYTES = 4096


def read_frame(path: Path, near: int | None = None) -> tuple[Bytes, tuple[int, int]]:
    """Return a frame as RGB, and its true size.

    Args:
        path: Image file.
        near: Side in pixels that the frame will be resized to. JPEGs are then decoded at the
            smallest of 1/1, 1/2, 1/4, 1/8 that is not below it, which costs a fraction of the
            time. None decodes in full.

    Returns:
        uint8 [h, w, 3], and (H, W) of the file.

    Raises:
        FrameError: Not a readable image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if near is not None:
                image.draft("RGB", (near, near))
            return np.array(image.convert("RGB")), (height, width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FrameError(f"cannot read frame {path}: {error}") from error


def read_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a frame from its header, without decoding it.

    Raises:
        FrameError: Not an image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise FrameError(f"cannot read frame {path}: {error}") from error


def read_grey(path: Path) -> Bytes:
    """Return a mask or map as 8-bit grey, uint8 [H, W].

    Grey stored as RGB or with a palette is the same grey; colour is refused, as it could be turned
    into several greys. OpenCV decodes, because it notices any damage to a PNG; PIL does not check
    the checksums.

    Raises:
        FrameError: Not a readable image, not 8 bits, coloured or with transparency.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FrameError(f"{path} cannot be read as an image; it is damaged or not one")
    if image.dtype != np.uint8:
        raise _not_grey(path, f"is {8 * image.dtype.itemsize}-bit")
    if image.ndim == 2:
        return np.asarray(image, np.uint8)
    if image.shape[2] == 4:
        raise _not_grey(path, "has an alpha channel")
    blue, green, red = cv2.split(image)
    if not (np.array_equal(blue, green) and np.array_equal(green, red)):
        raise _not_grey(path, "is in colour")
    return np.asarray(blue, np.uint8)


def read_mask(path: Path) -> Mask:
    """Return a mask, bool [H, W]: True where grey is above 128, which is polyp.

    Raises:
        FrameError: As `read_grey`, or nothing is above 128 though the mask is not empty.
    """
    grey = read_grey(path)
    highest = int(grey.max())
    if 0 < highest <= POLYP_ABOVE:
        raise FrameError(
            f"{path} has no value above {highest}, wanted 0 and 255 (is it stored as 0/1?)"
        )
    return np.asarray(grey > POLYP_ABOVE)


def check_grey_header(path: Path) -> None:
    """Refuse a mask or map that `read_grey` refuses, as far as that shows without decoding it.

    A PNG tells depth and channels in its first bytes and its wholeness in the last. Files of
    other types, and PNGs that may hold colour, are decoded.

    Raises:
        FrameError: As `read_grey`.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(26)
        file.seek(0, 2)
        size = file.tell()
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    if not size:
        raise FrameError(f"{path} is an empty file")
    if not head.startswith(_PNG):
        if path.suffix.lower() == ".png":
            raise FrameError(f"{path} is not a PNG file")
        read_grey(path)
        return
    if len(head) < 26 or _PNG_END not in tail:
        raise FrameError(f"{path} is cut short ({size} bytes, the end of the PNG is missing)")
    depth, kind = struct.unpack(">BB", head[24:26])
    if depth > 8:
        raise _not_grey(path, f"is {depth}-bit")
    if kind in (_PNG_COLOUR, _PNG_PALETTE):
        read_grey(path)
    elif kind != _PNG_GREY:
        raise _not_grey(path, "has an alpha channel")


def check_size(frame: Path, size: tuple[int, int], mask_path: Path, mask: Mask) -> None:
    """Refuse a mask that is not of its frame's size (H, W).

    Raises:
        FrameError: The sizes differ.
    """
    if mask.shape != size:
        raise FrameError(
            f"mask {mask_path} is {mask.shape[0]}x{mask.shape[1]} but its frame {frame.name} is "
            f"{size[0]}x{size[1]} (height x width)"
        )


def resize_frame(frame: Bytes, side: int) -> Bytes:
    """Return a frame at uint8 [side, side, 3]: antialiased bilinear, as torchvision's Resize."""
    if frame.shape[:2] == (side, side):
        return frame
    return np.array(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR))


def resize_mask(mask: NDArray[np.bool_ | np.uint8], side: int) -> Bytes:
    """Return a mask [H, W] of 0 and 1 at [side, side]: a pixel is polyp if half of it is."""
    if mask.shape == (side, side):
        return mask.view(np.uint8)
    grey = Image.fromarray(mask * np.uint8(255)).resize((side, side), Image.Resampling.BILINEAR)
    return (np.asarray(grey) > 127).astype(np.uint8)


def _not_grey(path: Path, got: str) -> FrameError:
    return FrameError(f"{path} {got}, wanted 8-bit grey")
