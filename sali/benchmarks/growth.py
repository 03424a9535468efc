"""How the time of a frame grows: with frames seen, memory, image size and number of streams."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sali.benchmarks.parts import MEMORY_READS, read_level
from sali.benchmarks.setup import Setup, Variant, autocast, fill, frame_elements
from sali.benchmarks.timing import Call, fit_exponent, time_interleaved
from sali.models.sali.network import SALI
from sali.streaming import MemoryBank, step_streams

Curve = dict[str, Any]
"""{"unit", "x": [...], "series": {name: {"ms": [...], "exponent": b of ms = a x^b}}}."""


def measure_growth(
    setup: Setup,
    variant: Variant,
    rounds: int,
    warmup: int,
    frames_seen: int,
    blocks: int,
    memory_frames: Sequence[int],
    image_sizes: Sequence[int],
    streams: Sequence[int],
) -> dict[str, Any]:
    """Curves of our way; memory reads also of the others.

    Args:
        setup: what is measured.
        variant: of our network.
        rounds: timed calls for each point, of which the median is taken.
        warmup: calls before those.
        frames_seen: length of the stream, memory full from the start, whose frames are timed.
        blocks: points that this stream is summed up in.
        memory_frames: sizes of the memory in frames.
        image_sizes: sides in pixels.
        streams: numbers of streams that take turns.

    Returns:
        {"curves": {name: ``Curve``}}; an empty list of points leaves its curve out.
    """
    device = setup.start()
    images = setup.images(setup.frames())
    original = setup.build_network(calibrate=images)
    ours = _Ours(setup, variant.prepare(original), variant)
    curves = {}
    with torch.inference_mode():
        if frames_seen:
            curves["frames seen"] = _over_frames(ours, frames_seen, blocks, warmup, device)
        timing = (rounds, warmup, device)
        if memory_frames:
            points = {n: {"whole frame": ours.step(max_frames=n)} for n in memory_frames}
            curves["memory"] = _curve("frames in memory", points, *timing)
            reads = {n: _reads(setup, original, images, n) for n in memory_frames}
            curves["memory read"] = _curve("frames in memory", reads, *timing)
        if image_sizes:
            points = {n: {"whole frame": ours.step(image_size=n)} for n in image_sizes}
            curves["image size"] = _curve("side in pixels", points, *timing)
        if streams:
            points = {n: {"all streams": ours.step(streams=n)} for n in streams}
            curve = curves["streams"] = _curve("streams", points, *timing)
            both = np.array(curve["series"]["all streams"]["ms"])
            each = {"frame of one stream": (both / np.array(streams)).tolist()}
            curve["series"].update(_as_curve("", list(streams), each)["series"])
    return {"curves": curves}


class _Ours:
    """Makes steps of our segmenter."""

    def __init__(self, setup: Setup, network: SALI, variant: Variant) -> None:
        self.setup, self.network, self.variant = setup, network, variant
        self.frames = setup.frames()

    def step(
        self, max_frames: int | None = None, image_size: int | None = None, streams: int = 1
    ) -> Call:
        """One frame of every stream; the memories are full."""
        setup = replace(
            self.setup,
            max_frames=max_frames or self.setup.max_frames,
            image_size=image_size or self.setup.image_size,
        )
        with autocast(torch.device(setup.device), self.variant.precision):
            elements = frame_elements(self.network, setup.images(self.frames))
        segmenters = [setup.segmenter(self.network, self.variant) for _ in range(streams)]
        for segmenter in segmenters:
            fill(segmenter.bank, elements, setup, setup.max_frames)
        frames = [self.frames[i % len(self.frames)] for i in range(streams)]
        return lambda: step_streams(segmenters, frames)


def _reads(setup: Setup, network: SALI, images: Tensor, num_frames: int) -> dict[str, Call]:
    """All ways of reading a memory of so many frames."""
    assert network.long_term
    top_k = network.long_term.top_k
    elements = frame_elements(network, images)
    bank = MemoryBank(num_frames, setup.eviction)
    fill(bank, elements, setup, num_frames)
    levels = list(zip(elements[0], bank.elements(), strict=True))

    def read(name: str) -> Call:
        return lambda: [read_level(q, m, top_k, MEMORY_READS[name]) for q, m in levels]

    return {name: read(name) for name in MEMORY_READS}


def _over_frames(
    ours: _Ours, num_frames: int, blocks: int, warmup: int, device: torch.device
) -> Curve:
    """Medians of the times of a stream's frames, block by block."""
    times = time_interleaved({"": ours.step()}, num_frames, warmup, device)[""]
    parts = np.array_split(times, min(blocks, num_frames))
    ends = np.cumsum([len(part) for part in parts])
    medians = [float(np.median(part)) for part in parts]
    return _as_curve("frames seen with a full memory", ends.tolist(), {"whole frame": medians})


def _curve(
    unit: str, points: dict[int, dict[str, Call]], rounds: int, warmup: int, device: torch.device
) -> Curve:
    """All points and series take turns; medians."""
    calls = {(n, name): call for n, ways in points.items() for name, call in ways.items()}
    named = {f"{n} {name}": call for (n, name), call in calls.items()}
    times = time_interleaved(named, rounds, warmup, device)
    series: dict[str, list[float]] = {}
    for n, name in calls:
        series.setdefault(name, []).append(float(np.median(times[f"{n} {name}"])))
    return _as_curve(unit, list(points), series)


def _as_curve(unit: str, x: list[int], series: dict[str, list[float]]) -> Curve:
    return {
        "unit": unit,
        "x": x,
        "series": {
            name: {"ms": ms, "exponent": fit_exponent(x, ms)} for name, ms in series.items()
        },
    }
