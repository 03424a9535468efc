"""Every part of a frame on its own: the released way of it beside ours."""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sali.benchmarks import released_way as released
from sali.benchmarks.setup import (
    Bank,
    Setup,
    Variant,
    autocast,
    fill,
    frame_elements,
    write_jpegs,
)
from sali.benchmarks.timing import Call, summarize, time_interleaved
from sali.data.frames import read_frame, resize_frame
from sali.data.synthetic import draw_clip
from sali.data.tensors import to_tensor
from sali.metrics.vps import frame_scores
from sali.models.blocks import Pyramid
from sali.models.sali.alignment import DeformConv
from sali.models.sali.bank import MemoryBank
from sali.models.sali.memory import KeyValue
from sali.models.sali.network import SALI
from sali.ops import KERNELS, deform_conv, memory_read

RELEASED = "released"
TORCHVISION = "torchvision"

MemoryRead = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]
MEMORY_READS: dict[str, MemoryRead] = {
    RELEASED: released.dense_read,
    "ours": memory_read,
    "plain PyTorch": partial(memory_read, kernel="torch"),
}
"""The ways of reading a memory, by name."""


def measure_parts(
    setup: Setup, variants: Mapping[str, Variant], rounds: int, warmup: int
) -> dict[str, Any]:
    """Time the parts of a frame, with a full memory.

    Args:
        setup: what is measured.
        variants: of our network, by name.
        rounds: timed calls of each variant of each part.
        warmup: rounds before those.

    Returns:
        {"timings": {part: rows of ``summarize``}}.
    """
    device = setup.start()
    images = setup.images(setup.frames())
    network = setup.build_network(calibrate=images)
    parts = _network_parts(setup, network, images, variants)
    parts["memory read"], parts["bank bookkeeping"] = _memory_parts(setup, network, images)
    parts["deformable convolution"] = _deformable_kernels(setup, network, images)
    parts["VPS scores"] = {"ours": _vps_scores(setup)}
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        parts["JPEG to tensor"] = _decoding(setup, Path(folder))
        return {
            "timings": {
                name: summarize(
                    time_interleaved(part, rounds, warmup, device), (RELEASED, TORCHVISION)
                )
                for name, part in parts.items()
            }
        }


@torch.inference_mode()
def _network_parts(
    setup: Setup, network: SALI, images: Tensor, variants: Mapping[str, Variant]
) -> dict[str, dict[str, Call]]:
    """Parts that are modules. The memory is the frame's own features here; reading has its part."""
    image = images[:1]
    parts = {part: {RELEASED: call} for part, call in _released_calls(network, image).items()}
    for name, variant in variants.items():
        context = autocast(image.device, variant.precision)
        for part, call in _our_calls(variant.prepare(network), image, context).items():
            parts[part][name] = call
    return parts


def _released_calls(network: SALI, image: Tensor) -> dict[str, Call]:
    assert network.long_term and network.short_term and network.fusion
    short_term, fusion = network.short_term, network.fusion
    features = network.backbone(image)
    pyramid = network.reduction(features)
    query = network.long_term.project(pyramid)
    remembered, _ = network.long_term(pyramid, query, query)

    def align_both() -> tuple[Pyramid, Pyramid]:
        first = released.align(short_term, remembered, pyramid)
        return first, released.align(short_term, pyramid, pyramid)

    aligned = align_both()
    fused = released.fuse(fusion, *aligned)
    return {
        "backbone": partial(network.backbone, image),
        "reduction": partial(network.reduction, features),
        "keys and values": partial(network.long_term.project, pyramid),
        "alignment": align_both,
        "fusion": partial(released.fuse, fusion, *aligned),
        "decoder": partial(network.decoder, fused),
    }


def _our_calls(network: SALI, image: Tensor, context: torch.autocast) -> dict[str, Call]:
    """Every part gets what the parts before it give in the same precision."""
    assert network.long_term and network.short_term and network.fusion
    with context:
        features = network.backbone(image)
        pyramid = network.reduction(features)
        query = network.long_term.project(pyramid)
        remembered, _ = network.long_term(pyramid, query, query)
        # As in ``SALI.fuse``: memory and neighbor in one pass.
        moving = [torch.cat(pair) for pair in zip(remembered, pyramid, strict=True)]
        reference = [torch.cat([x, x]) for x in pyramid]
        both = network.short_term(moving, reference)
        aligned = [[x.chunk(2)[i] for x in both] for i in range(2)]
        fused = network.fusion(*aligned, pyramid)

    def within(part: Callable[..., object], *inputs: Any) -> Call:
        def call() -> None:
            with context:
                part(*inputs)

        return call

    return {
        "backbone": within(network.backbone, image),
        "reduction": within(network.reduction, features),
        "keys and values": within(network.long_term.project, pyramid),
        "alignment": within(network.short_term, moving, reference),
        "fusion": within(network.fusion, *aligned, pyramid),
        "decoder": within(network.decoder, fused),
    }


@torch.inference_mode()
def _memory_parts(
    setup: Setup, network: SALI, images: Tensor
) -> tuple[dict[str, Call], dict[str, Call]]:
    """Reads of a full memory; and the storing of a frame in it, eviction and use included."""
    assert network.long_term
    top_k = network.long_term.top_k
    elements = frame_elements(network, images)
    ours = MemoryBank(setup.max_frames, setup.eviction)
    theirs = released.ReleasedBank(setup.max_frames)
    for bank in (ours, theirs):
        fill(bank, elements, setup, setup.max_frames)
    query, memory = elements[0], ours.elements()
    usages = [read_level(q, m, top_k, memory_read)[1] for q, m in zip(query, memory, strict=True)]

    def read(way: MemoryRead) -> Call:
        def call() -> None:
            for q, m in zip(query, memory, strict=True):
                read_level(q, m, top_k, way)

        return call

    def keep_books(bank: Bank) -> Call:
        def call() -> None:
            bank.count_usage(usages)
            bank.add(query, setup.max_frames)

        return call

    reads = {name: read(way) for name, way in MEMORY_READS.items()}
    return reads, {RELEASED: keep_books(theirs), "ours": keep_books(ours)}


def read_level(
    query: KeyValue, memory: KeyValue, top_k: int, way: MemoryRead
) -> tuple[Tensor, Tensor]:
    """Readout and usage of one level."""
    return way(query.key, memory.key, memory.value, top_k)


@torch.inference_mode()
def _deformable_kernels(setup: Setup, network: SALI, images: Tensor) -> dict[str, Call]:
    """Every kernel on the finest level, with the offsets that the network computes."""
    assert network.short_term
    x, guide = network.encode(images[:2])[0].chunk(2)
    module = network.short_term.deform[0]
    assert isinstance(module, DeformConv)
    first, second, modulation = module.to_offset(guide).chunk(3, dim=1)
    offset, modulation = torch.cat([first, second], 1), modulation.sigmoid()
    return {
        kernel: partial(
            deform_conv, x, offset, modulation, module.weight, module.bias, kernel=kernel
        )
        for kernel in KERNELS
    }


def _decoding(setup: Setup, folder: Path) -> dict[str, Call]:
    """Decoding in full, or near the size that the network sees; and the resize."""
    file = write_jpegs(setup.frames()[:1], folder)[0]

    def decode(near: int | None) -> Call:
        return lambda: to_tensor(resize_frame(read_frame(file, near)[0], setup.image_size))

    return {RELEASED: decode(None), "ours": decode(setup.image_size)}


def _vps_scores(setup: Setup) -> Call:
    """Scores of one frame at its own size."""
    size = (setup.frame_height, setup.frame_width)
    ((_, mask),) = draw_clip(setup.seed, 1, 1, 1, *size)
    noise = np.random.default_rng(setup.seed).integers(0, 80, size)
    prediction = np.clip(mask.astype(int) // 2 + noise, 0, 255).astype(np.uint8)
    return lambda: frame_scores(prediction, mask)
