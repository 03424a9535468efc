"""Every part of a frame on its own: the released way of it and ours."""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import released_way as released
from benchmarks.released_way import RELEASED
from benchmarks.setup import Elements, Setup, Variant, autocast, fill, write_jpegs
from benchmarks.timing import Call, Table, summarize, time_interleaved
from sali.data.frames import read_frame, resize_frame
from sali.data.samples import to_tensor
from sali.data.synthetic import draw_clip
from sali.metrics.vps import frame_scores
from sali.models.blocks import Pyramid
from sali.models.sali import SALI, MemoryBank
from sali.models.sali.alignment import DeformConv
from sali.models.sali.memory import KeyValue
from sali.ops import KERNELS, deform_conv, memory_read

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
) -> dict[str, Table]:
    """Return times of the parts of a frame, with a full memory."""
    device = setup.start()
    _, images, network, elements = setup.scene()
    ways = {RELEASED: _network_calls(network, images[:1], None)}
    for name, variant in variants.items():
        context = autocast(device, variant.precision)
        ways[name] = _network_calls(setup.prepare(network, variant), images[:1], context)
    parts = {part: {name: own[part] for name, own in ways.items()} for part in ways[RELEASED]}
    parts["memory read"], parts["bank bookkeeping"] = _memory_calls(setup, network, elements)
    parts["deformable convolution"] = _deformable_kernels(network, images)
    parts["VPS scores"] = {"ours": _vps_scores(setup)}
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        parts["JPEG to tensor"] = _decoding(setup, Path(folder))
        times = {p: time_interleaved(calls, rounds, warmup, device) for p, calls in parts.items()}
    return {part: summarize(own, (RELEASED, TORCHVISION)) for part, own in times.items()}


@torch.inference_mode()
def _network_calls(network: SALI, image: Tensor, context: torch.autocast | None) -> dict[str, Call]:
    """Return the parts that are modules; every part gets what the parts before it give.

    The memory is the frame's own features here; reading is a part of its own. Without an autocast
    it is the released way.
    """
    assert network.long_term and network.short_term and network.fusion
    short_term, fusion = network.short_term, network.fusion
    within = context or autocast(image.device, "32")
    with within:
        features = network.backbone(image)
        pyramid = network.reduction(features)
        query = network.long_term.project(pyramid)
        remembered, _ = network.long_term(pyramid, query, query)
        align: Callable[[], Any]
        if context is None:
            moves = [partial(released.align, short_term, x, pyramid) for x in (remembered, pyramid)]
            align = lambda: [move() for move in moves]  # noqa: E731
            fuse: Callable[[], Pyramid] = partial(released.fuse, fusion, *align())
        else:  # as in `SALI.fuse`: memory and neighbor in one pass
            moving = [torch.cat(pair) for pair in zip(remembered, pyramid, strict=True)]
            align = partial(short_term, moving, [torch.cat([x, x]) for x in pyramid])
            first, second = zip(*[x.chunk(2) for x in align()], strict=True)
            fuse = partial(fusion, first, second, pyramid)
        fused = fuse()

    def in_context(part: Callable[..., object], *inputs: Any) -> Call:
        def call() -> None:
            with within:
                part(*inputs)

        return call

    return {
        "backbone": in_context(network.backbone, image),
        "reduction": in_context(network.reduction, features),
        "keys and values": in_context(network.long_term.project, pyramid),
        "alignment": in_context(align),
        "fusion": in_context(fuse),
        "decoder": in_context(network.decoder, fused),
    }


@torch.inference_mode()
def _memory_calls(
    setup: Setup, network: SALI, elements: Elements
) -> tuple[dict[str, Call], dict[str, Call]]:
    """Return reads of a full memory, and the storing of a frame in it with eviction and use."""
    ours = network.start().bank
    assert network.long_term and ours
    top_k = network.long_term.top_k
    theirs = released.ReleasedBank(ours.max_frames)
    for bank in (ours, theirs):
        fill(bank, elements, setup.memory_noise, setup.seed)
    query, memory = elements[0], ours.elements()
    usages = [usage for _, usage in read_levels(memory_read, query, memory, top_k)]

    def keep_books(bank: MemoryBank | released.ReleasedBank) -> Call:
        def call() -> None:
            bank.count_usage(usages)
            bank.add(query, bank.max_frames)

        return call

    reads: dict[str, Call] = {
        name: partial(read_levels, way, query, memory, top_k) for name, way in MEMORY_READS.items()
    }
    return reads, {RELEASED: keep_books(theirs), "ours": keep_books(ours)}


def read_levels(
    way: MemoryRead, query: list[KeyValue], memory: list[KeyValue], top_k: int
) -> list[tuple[Tensor, Tensor]]:
    """Return readout and usage of each level."""
    return [way(q.key, m.key, m.value, top_k) for q, m in zip(query, memory, strict=True)]


@torch.inference_mode()
def _deformable_kernels(network: SALI, images: Tensor) -> dict[str, Call]:
    """Return every kernel on the finest level, with the offsets that the network computes."""
    assert network.short_term
    x, guide = network.encode(images[:2])[0].chunk(2)
    module = network.short_term.deform[0]
    assert isinstance(module, DeformConv)
    inputs = (x, *module.taps(guide), module.weight, module.bias)
    return {kernel: partial(deform_conv, *inputs, kernel=kernel) for kernel in KERNELS}


def _decoding(setup: Setup, folder: Path) -> dict[str, Call]:
    """Return decoding in full, or near the size that the network sees; and the resize."""
    file = write_jpegs(setup.frames()[:1], folder)[0]

    def decode(near: int | None) -> Call:
        return lambda: to_tensor(resize_frame(read_frame(file, near)[0], setup.image_size))

    return {RELEASED: decode(None), "ours": decode(setup.image_size)}


def _vps_scores(setup: Setup) -> Call:
    """Return the scoring of one frame at its own size."""
    ((_, mask),) = draw_clip(setup.seed, 1, 1, 1, *setup.frame_size)
    noise = np.random.default_rng(setup.seed).integers(0, 80, setup.frame_size)
    prediction = np.clip(mask.astype(int) // 2 + noise, 0, 255).astype(np.uint8)
    return partial(frame_scores, prediction, mask)
