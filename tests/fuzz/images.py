"""Image files: frames and masks."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from fuzz.engine import Case, Kind, WrongError
from fuzz.mutations import Random, damaged
from sali.data.frames import check_header, read_frame, read_grey, read_mask, read_size
from sali.errors import FrameError


def _encoded() -> list[tuple[str, bytes]]:
    """Return small images of all types and modes as (suffix, bytes)."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (13, 17)).astype(np.uint8))
    colour = Image.fromarray(rng.integers(0, 256, (13, 17, 3)).astype(np.uint8))
    mask = Image.fromarray(np.where(np.indices((13, 17)).sum(0) > 14, 255, 0).astype(np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (13, 17)).astype(np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    ways: list[tuple[str, Image.Image, dict[str, object]]] = [
        *((".png", one, {}) for one in (grey, colour, mask, deep)),
        *((".png", colour.convert(mode), {}) for mode in ("P", "1", "LA", "RGBA")),
        (".png", mask.convert("P"), {}),
        (".png", colour, {"exif": turned}),
        *((".jpg", one, {}) for one in (grey, colour, mask, colour.convert("CMYK"))),
        (".jpg", colour, {"exif": turned}),
        (".jpg", colour, {"progressive": True}),
        *((".bmp", one, {}) for one in (grey, colour, mask, mask.convert("1"))),
        *((".tif", one, {}) for one in (grey, colour, mask, deep, grey.convert("F"))),
        *((".tif", colour, {"compression": f"tiff_{c}"}) for c in ("lzw", "jpeg", "adobe_deflate")),
        (".tif", mask.convert("1"), {"compression": "group4"}),
        *((".webp", one, {"lossless": lossless}) for one in (colour, mask) for lossless in (0, 1)),
        (".webp", colour, {"save_all": True, "append_images": [grey.convert("RGB")]}),
        (".gif", colour.convert("P"), {"save_all": True, "append_images": [mask.convert("P")]}),
        (".ppm", colour, {}),
    ]
    found = []
    for suffix, image, options in ways:
        buffer = io.BytesIO()
        image.save(buffer, Image.registered_extensions()[suffix], **options)
        found.append((suffix, buffer.getvalue()))
    return found


def _drawn(folder: Path, encoded: list[tuple[str, bytes]], rng: Random) -> Path:
    """Write an image file, nearly always a damaged one; often of a suffix that is not its own."""
    suffix, data = encoded[rng.integers(len(encoded))]
    if rng.random() < 0.1:
        suffix = encoded[rng.integers(len(encoded))][0]
    if rng.random() < 0.95:
        data = damaged(data, rng, [other for _, other in encoded])
    path = folder / f"image{suffix}"
    path.write_bytes(data)
    return path


def _frames(folder: Path) -> Case:
    encoded = _encoded()

    def case(rng: Random) -> None:
        path = _drawn(folder, encoded, rng)
        near = (None, 1, 8, 352)[rng.integers(4)]
        try:
            size = read_size(path)
        except FrameError:
            size = None
        frame, true = read_frame(path, near)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise WrongError(f"a frame is {frame.dtype} {frame.shape}")
        if size != true:
            raise WrongError(f"read_size gives {size}, read_frame {true}")
        if near is None and frame.shape[:2] != true:
            raise WrongError(f"a frame of size {true} has {frame.shape[:2]}")

    return case


def _masks(folder: Path) -> Case:
    encoded = _encoded()

    def case(rng: Random) -> None:
        path = _drawn(folder, encoded, rng)
        what = rng.integers(4)
        if what == 0:
            grey = read_grey(path)
            if grey.dtype != np.uint8 or grey.ndim != 2 or not grey.size:
                raise WrongError(f"a map is {grey.dtype} {grey.shape}")
        elif what == 1:
            check_header(path, (read_mask, read_grey)[rng.integers(2)])
        else:
            mask = read_mask(path, *((), (0,), (254,))[rng.integers(3)])
            if mask.dtype != np.bool_ or mask.ndim != 2 or not mask.size:
                raise WrongError(f"a mask is {mask.dtype} {mask.shape}")

    return case


FRAMES = Kind(_frames)
MASKS = Kind(_masks)
