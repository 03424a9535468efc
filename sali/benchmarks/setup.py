"""What is measured: the network, generated frames and a full memory."""

import copy
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sali.data.frames import resize_frame
from sali.data.synthetic import draw_clip
from sali.data.tensors import to_tensor
from sali.models.sali.memory import KeyValue
from sali.models.sali.network import SALI
from sali.models.weights import load_backbone
from sali.streaming import StreamSegmenter, prepare_network
from sali.streaming.precision import PRECISIONS

JPEG_QUALITY = 90

WAKE_STD = 0.02
"""Deviation of the weights given to layers that start at zero."""


@dataclass(frozen=True)
class Variant:
    """One way of running our network.

    Attributes:
        precision: "32", "bf16" or "16".
        compiled: with torch.compile.
    """

    precision: str
    compiled: bool

    def prepare(self, network: SALI) -> SALI:
        """A copy of a network in evaluation mode as a live stream of this variant runs it."""
        return prepare_network(copy.deepcopy(network), self.precision, self.compiled)


@dataclass(frozen=True)
class Setup:
    """Plain values from which any process builds the same things.

    Attributes:
        network: arguments of ``SALI``.
        weights: of the backbone, see ``load_backbone``; None for random ones.
        image_size: side in pixels that the network sees.
        max_frames: memory cap in frames.
        every: every n-th frame is stored.
        eviction: rule of our memory bank.
        neighbor: neighbor of our segmenter; the released way always takes the next frame.
        frame_height: of generated frames, pixels.
        frame_width: of generated frames, pixels.
        num_frames: different generated frames; longer streams go through them again.
        memory_noise: deviation, over that of the elements, of the noise on copies of elements that
            fill a memory.
        seed: of weights, frames and noise.
        device: torch's name of it.
        threads: of PyTorch; None leaves its choice.
    """

    network: dict[str, Any]
    weights: str | None
    image_size: int
    max_frames: int
    every: int
    eviction: str
    neighbor: str
    frame_height: int
    frame_width: int
    num_frames: int
    memory_noise: float
    seed: int
    device: str
    threads: int | None

    def start(self) -> torch.device:
        """Seed, set the threads; call first."""
        if self.threads:
            torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        return torch.device(self.device)

    def frames(self) -> list[np.ndarray]:
        """Generated frames, RGB uint8 [H, W, 3]."""
        size = (self.frame_height, self.frame_width)
        return [f for f, _ in draw_clip(self.seed, 1, 1, self.num_frames, *size)]

    def images(self, frames: list[np.ndarray], image_size: int | None = None) -> Tensor:
        """Frames as the network sees them [T, 3, S, S]."""
        side = image_size or self.image_size
        return torch.stack([to_tensor(resize_frame(f, side)) for f in frames]).to(self.device)

    def build_network(self, calibrate: Tensor | None = None) -> SALI:
        """The network in evaluation mode.

        Args:
            calibrate: images [T, 3, S, S] that batch norms behind the backbone take their
                statistics from, so that random weights give features, similarities and offsets of
                ordinary size. None leaves them; times depend on them a little, memory does not.
        """
        torch.manual_seed(self.seed)
        network = SALI(**self.network)
        if self.weights:
            load_backbone(network.backbone, self.weights)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1 and not parameter.any():
                    parameter.normal_(0, WAKE_STD)
        network.eval().to(self.device)
        if calibrate is not None:
            _calibrate(network, calibrate)
        return network

    def segmenter(self, prepared: SALI, variant: Variant, **changes: Any) -> StreamSegmenter:
        """Our segmenter of a prepared network; ``changes`` are other arguments of its."""
        options = {
            "image_size": self.image_size,
            "max_frames": self.max_frames,
            "every": self.every,
            "eviction": self.eviction,
            "neighbor": self.neighbor,
            "precision": variant.precision,
        }
        return StreamSegmenter(prepared, **{**options, **changes})


class Bank(Protocol):
    """A memory bank, ours or the released one."""

    @property
    def sizes(self) -> list[int]: ...

    def add(self, frame: list[KeyValue], index: int) -> None: ...

    def count_usage(self, usages: list[Tensor]) -> None: ...


@torch.inference_mode()
def fill(bank: Bank, elements: list[list[KeyValue]], setup: Setup, num_frames: int) -> None:
    """Fill a bank as ``num_frames`` stored frames would, without streaming them all.

    Args:
        bank: empty.
        elements: keys and values of a few frames; noisy copies of them are stored.
        setup: gives seed and noise.
        num_frames: frames to store.
    """
    generator = torch.Generator(setup.device).manual_seed(setup.seed)
    for index, frame in zip(range(num_frames), itertools.cycle(elements), strict=False):
        noisy = []
        for level in frame:
            key, value = (_with_noise(x, setup.memory_noise, generator) for x in level)
            noisy.append(KeyValue(key, value))
        bank.add(noisy, index)
        # Reads in between, so that eviction finds elements that were used more or less.
        bank.count_usage(
            [torch.rand(1, n, generator=generator, device=setup.device) for n in bank.sizes]
        )


def _with_noise(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    return x + share * x.std() * noise


@torch.inference_mode()
def frame_elements(network: SALI, images: Tensor) -> list[list[KeyValue]]:
    """Keys and values of each image [T, 3, S, S], frame by frame and level by level."""
    assert network.long_term is not None
    return [network.long_term.project(network.encode(image[None])) for image in images]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """What a segmenter of this precision runs in."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def write_jpegs(frames: list[np.ndarray], folder: Path) -> list[Path]:
    """Frames as files."""
    files = [folder / f"{t:03d}.jpg" for t in range(len(frames))]
    for frame, file in zip(frames, files, strict=True):
        Image.fromarray(frame).save(file, quality=JPEG_QUALITY)
    return files


@torch.no_grad()
def _calibrate(network: SALI, images: Tensor) -> None:
    """Statistics of all batch norms behind the backbone from one batch of images."""
    norms = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not name.startswith("backbone.")
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    mask = images.new_zeros(len(images), 1, *images.shape[2:])
    network(images, images.roll(1, 0), mask, images.roll(-1, 0))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
