"""What is measured, and on which machine: the network, generated frames, a segmenter of ours."""

import copy
import itertools
import os
import platform
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from sali.build import model_node, pick_device
from sali.data.frames import resize_frame
from sali.data.samples import to_tensor
from sali.data.synthetic import draw_clip
from sali.models.contract import ClipBatch
from sali.models.nodes import instantiate
from sali.models.sali import SALI, MemoryBank
from sali.models.sali.memory import KeyValue
from sali.streaming import StreamSegmenter, prepare_network
from sali.streaming.prepare import PRECISIONS

if TYPE_CHECKING:
    from benchmarks.released_way import ReleasedBank

JPEG_QUALITY = 90

Elements = list[list[KeyValue]]
"""Keys and values of frames, frame by frame and level by level."""

WAKE_STD = 0.02
"""Deviation of the weights given to layers that start at zero."""


@dataclass(frozen=True)
class Variant:
    """One way of running our network: precision "32", "bf16" or "16", `torch.compile` or not."""

    precision: str
    compiled: bool


@dataclass(frozen=True)
class Setup:
    """Plain values from which any process builds the same things; see benchmark.yaml.

    `model` is the model node of the network, `threads` None leaves PyTorch's choice.
    """

    model: dict[str, Any]
    pretrained: bool
    image_size: int
    frame_height: int
    frame_width: int
    num_frames: int
    memory_noise: float
    seed: int
    device: str
    threads: int | None

    @classmethod
    def of(cls, cfg: DictConfig, **more: Any) -> Self:
        """Return the setup of a configuration, and of values that it does not have."""
        own = {f.name: cfg[f.name] for f in fields(cls) if f.name in cfg} | more
        return cls(**{**own, "model": model_node(cfg), "device": str(pick_device(cfg.device))})

    def start(self) -> torch.device:
        """Set the seed and the threads; call it first."""
        if self.threads:
            torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        return torch.device(self.device)

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.frame_height, self.frame_width

    def frames(self) -> list[np.ndarray]:
        """Return generated frames, RGB uint8 [H, W, 3]."""
        return [f for f, _ in draw_clip(self.seed, 1, 1, self.num_frames, *self.frame_size)]

    def images(self, frames: list[np.ndarray], side: int | None = None) -> Tensor:
        """Return frames as the network sees them, normalised [T, 3, S, S]."""
        fitted = [to_tensor(resize_frame(f, side or self.image_size)) for f in frames]
        return torch.stack(fitted).to(self.device)

    def scene(self) -> tuple[list[np.ndarray], Tensor, SALI, Elements]:
        """Return frames, their images, the calibrated network and the elements of the frames."""
        frames = self.frames()
        images = self.images(frames)
        network = self.build_network(calibrate=images)
        return frames, images, network, frame_elements(network, images)

    def build_network(self, calibrate: Tensor | None = None) -> SALI:
        """Return the network in evaluation mode.

        Args:
            calibrate: Images [T, 3, S, S] from which batch norms behind the backbone take their
                statistics, so that random weights give features, similarities and offsets of
                ordinary size. None leaves them; times depend on them a little, memory does not.
        """
        torch.manual_seed(self.seed)
        network: SALI = instantiate(self.model, trust=None)
        if self.pretrained:
            network.load_pretrained()
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1 and not parameter.any():
                    parameter.normal_(0, WAKE_STD)
        network.eval().to(self.device)
        if calibrate is not None:
            _calibrate(network, calibrate)
        return network

    def prepare(self, network: SALI, variant: Variant) -> SALI:
        """Return a copy of a network as a live stream of a variant runs it."""
        network = copy.deepcopy(network)
        prepare_network(network, self.image_size, variant.precision, variant.compiled)
        return network

    def full_stream(
        self,
        prepared: SALI,
        variant: Variant,
        elements: Elements,
        side: int | None = None,
        **settings: Any,
    ) -> StreamSegmenter:
        """Return a segmenter of a prepared network whose memory holds noisy copies of elements.

        The network sees `side` pixels; `settings` are changes of its `video_settings`.
        """
        ours = StreamSegmenter(prepared, side or self.image_size, variant.precision, **settings)
        fill(ours.video.bank, elements, self.memory_noise, self.seed)  # type: ignore[attr-defined]
        return ours


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return what a segmenter of this precision runs in."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def write_jpegs(frames: list[np.ndarray], folder: Path) -> list[Path]:
    """Write frames as files of a folder and return their paths."""
    files = [folder / f"{t:03d}.jpg" for t in range(len(frames))]
    for frame, file in zip(frames, files, strict=True):
        Image.fromarray(frame).save(file, quality=JPEG_QUALITY)
    return files


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, threads and what PyTorch makes of them."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text() if info.exists() else "")
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "system": f"{platform.system()} {platform.machine()}",
    }


@torch.no_grad()
def _calibrate(network: SALI, images: Tensor) -> None:
    """Take the statistics of all batch norms behind the backbone from one batch of images."""
    norms = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not name.startswith("backbone.")
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    frames = {"memory": images.roll(1, 0), "current": images, "neighbor": images.roll(-1, 0)}
    sample = torch.stack([frames[role.rstrip("0123456789")] for role in network.roles], 1)
    network(ClipBatch(sample, torch.zeros_like(sample[:, :, :1])))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


@torch.inference_mode()
def frame_elements(network: SALI, images: Tensor) -> Elements:
    """Return the elements of each image [T, 3, S, S]."""
    assert network.long_term is not None
    return [network.long_term.project(network.encode(image[None])) for image in images]


@torch.inference_mode()
def fill(bank: "MemoryBank | ReleasedBank", elements: Elements, noise: float, seed: int) -> None:
    """Fill an empty bank with noisy copies of the elements of a few frames.

    The deviation of the noise is `noise` times that of the elements.
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
