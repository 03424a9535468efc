"""Reading frames, and masks and maps as 8-bit grey, and telling cheaply if that will work."""

import struct
from pathlib import Path

import cv2
import numpy as np

from sali.errors import FrameError
from sali.metrics.counted_frame import ByteArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"IEND\xaeB`\x82"
_GREY, _COLOUR, _PALETTE = 0, 2, 3
_TAIL_BYTES = 4096


def read_grey(path: Path) -> ByteArray:
    """Reads an image as 8-bit grey, uint8 [H, W].

    Grey stored as RGB or with a palette is the same grey; colour is refused, as it would be
    turned into some grey or other.

    Raises:
        FrameError: not a readable image, not 8 bits, coloured or with transparency.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FrameError(f"{path} cannot be read as an image; it is damaged or not one")
    if image.dtype != np.uint8:
        raise FrameError(f"{path} is {8 * image.dtype.itemsize}-bit, wanted 8-bit grey")
    if image.ndim == 2:
        return np.asarray(image, np.uint8)
    if image.shape[2] == 4:
        raise FrameError(f"{path} has an alpha channel, wanted 8-bit grey")
    blue, green, red = cv2.split(image)
    if not (np.array_equal(blue, green) and np.array_equal(green, red)):
        raise FrameError(f"{path} is in colour, wanted 8-bit grey")
    return np.asarray(blue, np.uint8)


def read_mask(path: Path) -> ByteArray:
    """Reads a ground truth, uint8 [H, W] in which more than 128 is polyp.

    Raises:
        FrameError: as `read_grey`, or nothing is above 128 though the mask is not empty.
    """
    mask = read_grey(path)
    highest = int(mask.max())
    if 0 < highest <= 128:
        raise FrameError(
            f"{path} has no value above {highest}, wanted 0 and 255 (is it stored as 0/1?)"
        )
    return mask


def read_frame(path: Path) -> ByteArray:
    """Reads a frame, RGB uint8 [H, W, 3].

    Raises:
        FrameError: not a readable image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FrameError(f"frame {path} cannot be read as an image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def check_header(path: Path) -> None:
    """Raises FrameError if a file cannot be read, as far as that shows without decoding it.

    A PNG tells depth and channels in its first bytes and its wholeness in the last. Files of
    other types, and PNGs that may hold colour, are decoded.
    """
    with path.open("rb") as file:
        head = file.read(26)
        file.seek(0, 2)
        size = file.tell()
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    if not size:
        raise FrameError(f"{path} is an empty file")
    if not head.startswith(_SIGNATURE):
        if path.suffix.lower() == ".png":
            raise FrameError(f"{path} is not a PNG file")
        read_grey(path)
        return
    if len(head) < 26 or _END not in tail:
        raise FrameError(f"{path} is cut short ({size} bytes, the end of the PNG is missing)")
    depth, kind = struct.unpack(">BB", head[24:26])
    if depth > 8:
        raise FrameError(f"{path} is {depth}-bit, wanted 8-bit grey")
    if kind in (_COLOUR, _PALETTE):
        read_grey(path)
    elif kind != _GREY:
        raise FrameError(f"{path} has an alpha channel, wanted 8-bit grey")
