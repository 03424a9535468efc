"""Calls of `StreamSegmenter.step` with everything that is not a frame, and with frames."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import small_network
from PIL import Image

from fuzz.engine import Case, Kind, WrongError
from fuzz.mutations import Random, odd
from sali.models.nodes import instantiate
from sali.ops import native
from sali.streaming import StreamSegmenter

DTYPES = (
    "u1",
    "i1",
    "u2",
    "i4",
    "i8",
    "f2",
    "f4",
    "f8",
    "c8",
    "?",
    "O",
    "S3",
    "U3",
    "M8[s]",
    ">u2",
)
SIDES = (0, 1, 1, 2, 3, 5, 17, 64, 100)
_TINY = {
    "_target_": "sali.models.image.ImageSegmenter",
    "net": {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1},
}


def _array(rng: Random, ndim: int, dtype: str) -> np.ndarray:
    sides = SIDES if ndim <= 3 else [side for side in SIDES if side < 20]  # memory is finite
    shape = [sides[rng.integers(len(sides))] for _ in range(ndim)]
    return rng.integers(0, 100, shape).astype(dtype)


def _no_frame(rng: Random) -> Any:
    """Return what is nearly always no frame."""
    match int(rng.integers(9)):
        case 0:
            return odd(rng)
        case 1:
            return Image.new(("RGB", "L")[rng.integers(2)], (8, 8))
        case 2:
            return torch.zeros(8, 8, 3, dtype=torch.uint8)
        case 3:
            return _array(rng, int(rng.integers(6)), "u1")
        case 4:
            return [[[1, 2, 3]] * 4] * 4
        case 5:
            return np.zeros((4, 4), [("r", "u1"), ("g", "u1")])
        case 6:
            return _frame(rng)[..., : int(rng.integers(3))]
        case 7:
            return memoryview(_frame(rng))
        case _:
            return _array(rng, 3, DTYPES[rng.integers(len(DTYPES))])


def _frame(rng: Random) -> np.ndarray:
    """Return a frame of any size and layout."""
    h, w = (int(max(1, SIDES[rng.integers(len(SIDES))])) for _ in range(2))
    if rng.random() < 0.03:
        h, w = ((1, 20_000), (20_000, 1))[rng.integers(2)]
    frame = rng.integers(0, 256, (h, w, 3)).astype(np.uint8)
    match int(rng.integers(8)):
        case 0:
            frame = frame[::-1, ::-1, ::-1]
        case 1:
            frame = np.asfortranarray(frame)
        case 2:
            frame = np.dstack([frame, frame])[..., ::2]
        case 3:
            frame.flags.writeable = False
        case 4:
            frame = np.broadcast_to(frame[:1, :1], frame.shape)
        case 5:
            frame = np.ma.masked_array(frame, frame > 250)
    return frame


def _prepare(folder: Path) -> Case:
    native.available()  # compiles
    networks = [(instantiate(_TINY, trust=None).eval(), 32), (small_network().eval(), 256)]
    streams = [StreamSegmenter(*networks[rare]) for rare in (0,) * 15 + (1,)]
    twins = [StreamSegmenter(*networks[rare]) for rare in (0,) * 15 + (1,)]

    def case(rng: Random) -> None:
        """A stream that gets other things than frames gives what its undisturbed twin gives."""
        which = int(rng.integers(len(streams)))
        stream, twin = streams[which], twins[which]
        if rng.random() < 0.2:
            stream.reset()
            twin.reset()
        given = _no_frame(rng) if rng.random() < 0.7 else _frame(rng)
        _checked(given, stream.step(given), twin.step(np.array(given)))

    return case


def _checked(frame: Any, result: np.ndarray | None, wanted: np.ndarray | None) -> None:
    if result is None or wanted is None:
        raise WrongError("a causal network gave no result")
    if result.dtype != np.float32 or result.shape != frame.shape[:2]:
        raise WrongError(f"a frame of {frame.shape} gives {result.dtype} {result.shape}")
    if not (np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1):
        raise WrongError(f"probabilities from {result.min()} to {result.max()}")
    if not np.array_equal(result, wanted):
        raise WrongError("a stream differs from its twin, which got the same frames")


STREAM = Kind(_prepare, (ValueError,))
