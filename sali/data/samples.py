"""The items of a stream: frames in order, frames that could not be read, ends of videos."""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_tensor(frame: np.ndarray) -> Tensor:
    """Return a frame uint8 [H, W, 3] as float32 [3, H, W], normalised as ImageNet is."""
    # Bytes are reordered, not floats: a quarter of the memory to move.
    planes = (
        torch.from_numpy(np.require(frame, requirements=("C", "W"))).permute(2, 0, 1).contiguous()
    )
    image = planes.float().div_(255)
    mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(3, 1, 1)
    return image.sub_(mean).div_(std)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame of a clip or video that is streamed in order.

    Attributes:
        clip: Number of the clip in its data set.
        number: Number of the frame in its clip, from 0.
        is_last: Whether the clip ends with this frame; an `End` follows the frames of a video.
        image: Normalised image at the network's size, float [3, S, S].
        size: (H, W) of the frame.
        mask: 0 and 1, uint8 [H, W], at the frame's own size; None without a ground truth.
        picture: RGB, uint8 [H, W, 3], of videos whose frames are shown; else None.
        time: Seconds since the start of the video; 0 for frames in files.
    """

    clip: int
    number: int
    is_last: bool = False
    image: Tensor
    size: tuple[int, int]
    mask: Tensor | None = None
    picture: Tensor | None = None
    time: Fraction = Fraction(0)

    def to(self, device: torch.device | str) -> "Frame":
        """Return the frame with image and mask on a device (called by Lightning)."""
        mask = None if self.mask is None else self.mask.to(device)
        return replace(self, image=self.image.to(device), mask=mask)

    def pin_memory(self) -> "Frame":
        """Return the frame with image and mask in page-locked memory (called by DataLoader)."""
        mask = None if self.mask is None else self.mask.pin_memory()
        return replace(self, image=self.image.pin_memory(), mask=mask)


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A frame that could not be read, in place of a `Frame`; the error names the file."""

    clip: int
    number: int
    is_last: bool = False
    error: str


@dataclass(frozen=True, kw_only=True)
class End:
    """The end of a video or live source, whose last frame nobody knows beforehand.

    Attributes:
        number: Number of frames that came before it.
        error: Why the video ended too early; empty if it did not.
        lost: Number of frames that are missing because the file was cut off.
    """

    clip: int
    number: int
    error: str = ""
    lost: int = 0
    is_last = True


StreamItem = Frame | Unreadable | End
