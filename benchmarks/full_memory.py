"""A full memory without streaming all the frames that fill it."""

import itertools
from typing import Protocol

import torch
from torch import Tensor

from sali.models.sali import SALI
from sali.models.sali.memory import KeyValue

Elements = list[list[KeyValue]]
"""Keys and values of frames, frame by frame and level by level."""


class Bank(Protocol):
    """A memory bank, ours or the released one."""

    max_frames: int

    @property
    def sizes(self) -> list[int]: ...

    def add(self, frame: list[KeyValue], index: int) -> None: ...

    def count_usage(self, usages: list[Tensor]) -> None: ...


@torch.inference_mode()
def frame_elements(network: SALI, images: Tensor) -> Elements:
    """Return the elements of each image [T, 3, S, S]."""
    assert network.long_term is not None
    return [network.long_term.project(network.encode(image[None])) for image in images]


@torch.inference_mode()
def fill(bank: Bank, elements: Elements, noise: float, seed: int) -> None:
    """Fill a bank with noisy copies of the elements of a few frames.

    Args:
        bank: Empty bank; it gets `max_frames` frames.
        elements: Elements of those frames.
        noise: Deviation of the noise over that of the elements.
        seed: Seed of the noise.
    """
    device = elements[0][0].key.device
    generator = torch.Generator(device).manual_seed(seed)

    def noisy(x: Tensor) -> Tensor:
        return x + noise * x.std() * torch.randn(x.shape, generator=generator, device=device)

    for index, frame in zip(range(bank.max_frames), itertools.cycle(elements), strict=False):
        bank.add([KeyValue(noisy(level.key), noisy(level.value)) for level in frame], index)
        # Reads in between, so that eviction finds elements that were used more or less.
        usages = [torch.rand(1, n, generator=generator, device=device) for n in bank.sizes]
        bank.count_usage(usages)
