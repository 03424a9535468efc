"""What training and streaming are given."""

from fractions import Fraction
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
    """Normalised [3, S, S]; None for what could not be read, and for the end of a video."""
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
    lost: int = 0
    """At the end of a video: frames that are missing because the file was cut off."""
    picture: Tensor | None = None
    """uint8 RGB [H, W, 3], of a video whose frames are drawn on."""
    time: Fraction = Fraction(0)
    """Seconds, of a video."""
