"""Reading and resizing frames, masks and maps: the only place where image files are decoded."""

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sali.errors import FrameError

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

POLYP_ABOVE = 128
"""Grey value of a mask above which a pixel is polyp (VPS toolbox protocol)."""
LABEL_COLOURS = 32
"""Most colours of a mask whose colours are labels; a picture has more."""
NEARLY_GREY = 24
"""Largest difference of a pixel's channels that compression makes of grey."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_GREY = 0
_TAIL_BYTES = 4096
_ORIENTATION = 0x0112  # tag of EXIF
_UNREADABLE = (  # what decoders raise at damaged files; the last five are slips of Pillow's own
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    MemoryError,
    Image.DecompressionBombError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    struct.error,
)
"""What PIL raises for files that are damaged, not images, or so large that they fill the memory."""


def read_frame(path: Path, near: int | None = None) -> tuple[Bytes, tuple[int, int]]:
    """Return a frame as RGB, upright, and its true size.

    A frame is turned as its EXIF orientation says; of 16-bit grey the upper 8 bits are taken.

    With `near`, the side in pixels that the frame will be resized to, JPEGs are decoded at the
    smallest of 1/1, 1/2, 1/4, 1/8 that is not below it, which costs a fraction of the time.

    Returns:
        uint8 [h, w, 3], and (H, W) of the file, upright.

    Raises:
        FrameError: Not a readable image, or one of 32 bits per channel.
    """
    try:
        with Image.open(path) as image:
            _require_one_picture(image, f"frame {path}")
            size = _upright_size(image)
            if near is not None:
                image.draft("RGB", (near, near))
            if image.mode in ("I", "F"):
                raise FrameError(f"frame {path} has 32 bits per channel, wanted 8 or 16")
            upright = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):
                upright = Image.fromarray((np.array(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert("RGB")), size
    except FrameError:
        raise
    except _UNREADABLE as error:
        raise FrameError(f"cannot read frame {path}: {_reason(error)}") from error


def read_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a frame, upright, from its header, without decoding it."""
    try:
        with Image.open(path) as image:
            return _upright_size(image)
    except _UNREADABLE as error:
        raise FrameError(f"cannot read frame {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _require_one_picture(image: Image.Image, what: str) -> None:
    """Refuse a TIFF of several pages and an animation; previews in a JPEG (MPO) do not count."""
    number = getattr(image, "n_frames", 1)
    if number > 1 and image.format != "MPO":
        raise FrameError(f"{what} holds {number} pictures, wanted one; make a file of each")


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (H, W) after turning by the EXIF orientation, of which 5 to 8 lie on a side."""
    on_side = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (image.width, image.height) if on_side else (image.height, image.width)


def read_grey(path: Path) -> Bytes:
    """Return a map as 8-bit grey, uint8 [H, W].

    Grey stored as RGB or with a palette is the same grey; colour is refused, as it could be turned
    into several greys.

    Raises:
        FrameError: Not a readable image, not 8 bits, coloured or with transparency.
    """
    image = _decode(path)
    if image.ndim == 2:
        return image
    blue, green, red = cv2.split(image)
    if not (np.array_equal(blue, green) and np.array_equal(green, red)):
        raise _refused(path, "is in colour", "8-bit grey")
    return np.asarray(blue, np.uint8)


def read_mask(path: Path, above: int = POLYP_ABOVE) -> Mask:
    """Return a mask, bool [H, W]: True where grey is above 128, which is polyp.

    Channels that differ by compression only are grey. In a mask of few colours, as annotation
    tools write them, every colour but black is polyp. Importers give another threshold.

    Raises:
        FrameError: Not a readable image, not 8 bits, with transparency, a picture in colour, or
            nothing is above the threshold though the mask is not empty.
    """
    image = _decode(path)
    if image.ndim == 3:
        spread = int((image.max(2) - image.min(2)).max())
        if spread > NEARLY_GREY:
            if len(np.unique(image.reshape(-1, 3), axis=0)) > LABEL_COLOURS:
                raise _refused(
                    path, "is in colour", f"8-bit grey, or at most {LABEL_COLOURS} label colours"
                )
            return np.asarray(image.any(2))
        image = image[..., 0] if not spread else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    highest = int(image.max())
    if 0 < highest <= above:
        raise FrameError(
            f"{path} has no value above {highest}, wanted 0 and 255 (is it stored as 0/1? "
            "sali.data.import_folder reads that with polyp_above=0)"
        )
    return np.asarray(image > above)


def _decode(path: Path) -> Bytes:
    """Return the pixels of a mask or map, upright, uint8 [H, W] or, as BGR, [H, W, 3].

    OpenCV decodes, because it notices any damage to a PNG; PIL does not check the checksums.
    """
    try:
        with Image.open(path):  # its header alone: one that would fill the memory is refused
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except (*_UNREADABLE, cv2.error) as error:
        raise FrameError(f"{path} cannot be read as an image: {_reason(error)}") from error
    if image is None:
        raise FrameError(f"{path} cannot be read as an image; it is damaged or not one")
    if image.dtype != np.uint8:
        raise _refused(path, f"is {8 * image.dtype.itemsize}-bit", "8-bit grey")
    if image.ndim == 3 and image.shape[2] == 4:
        raise _refused(path, "has an alpha channel", "8-bit grey")
    try:
        with Image.open(path) as header:
            _require_one_picture(header, str(path))
            turn = header.getexif().get(_ORIENTATION, 1)
    except FrameError:
        raise
    except _UNREADABLE:
        turn = 1  # OpenCV reads more kinds of files
    image = image.swapaxes(0, 1) if turn in (5, 6, 7, 8) else image
    image = image[:, ::-1] if turn in (2, 3, 6, 7) else image
    image = image[::-1] if turn in (3, 4, 7, 8) else image
    return np.ascontiguousarray(image, np.uint8)


def check_header(path: Path, read: Callable[[Path], object]) -> None:
    """Refuse a mask or map that `read_mask` or `read_grey` refuses, as far as its header shows it.

    Raises:
        FrameError: As `read`.
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
        read(path)
        return
    if len(head) < 26 or _PNG_END not in tail:
        raise FrameError(f"{path} is cut short ({size} bytes, the end of the PNG is missing)")
    depth, kind = head[24:26]
    if depth > 8 or kind != _PNG_GREY:
        read(path)


def check_size(frame: Path, size: tuple[int, int], mask_path: Path, mask: Mask) -> None:
    """Refuse a mask that is not of its frame's size (H, W)."""
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


def _refused(path: Path, got: str, wanted: str) -> FrameError:
    return FrameError(f"{path} {got}, wanted {wanted}")
