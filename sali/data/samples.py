"""What training and streaming are given."""

from typing import NamedTuple

from torch import Tensor


class ClipBatch(NamedTuple):
    """Frames of one sample, or with a leading B of a batch.

    For triplets T counts the roles that the network asks for, in its order; the same type holds
    clips of T consecutive frames.
    """

    frames: Tensor
    """Normalised images [(B,) T, 3, S, S]."""
    masks: Tensor
    """0/1 floats [(B,) T, 1, S, S]."""


class ClipFrame(NamedTuple):
    """One frame of a clip that is streamed in order."""

    image: Tensor | None
    """Normalised [3, S, S]; None for a file that could not be read."""
    mask: Tensor | None
    """0/1 uint8 [H, W] at the frame's own size."""
    size: tuple[int, int]
    """(H, W) of the frame."""
    clip: int
    """Number of the clip in its data set."""
    number: int
    """Number of the frame in its clip."""
    is_last: bool
    """Whether the clip ends here."""
    error: str = ""
    """Why there is no image."""
