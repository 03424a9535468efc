"""How the time of a frame grows: with frames seen, memory, image size and number of streams."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.parts import MEMORY_READS, read_levels
from benchmarks.setup import Elements, Setup, Variant, fill, frame_elements
from benchmarks.timing import Call, fit_exponent, time_interleaved
from sali.models.sali import SALI
from sali.streaming import step_streams

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
) -> dict[str, Curve]:
    """Measure curves of our way; of memory reads also those of the others.

    `frames_seen` frames of a stream whose memory is full are summed up in `blocks` points; the
    lists are the points of the other curves. A point is a median; a curve without points is left
    out.
    """
    device = setup.start()
    frames, _, original, elements = setup.scene()
    prepared = setup.prepare(original, variant)

    def step(side: int | None = None, streams: int = 1, **settings: Any) -> Call:
        """Return the step of one frame of every stream; the memories are full."""
        own = elements if side is None else frame_elements(original, setup.images(frames, side))
        segmenters = [
            setup.full_stream(prepared, variant, own, side, **settings) for _ in range(streams)
        ]
        return partial(step_streams, segmenters, [frames[i % len(frames)] for i in range(streams)])

    def curve(unit: str, points: dict[int, dict[str, Call]]) -> Curve:
        """Return medians; all points and series take turns."""
        calls = {f"{n} {name}": call for n, ways in points.items() for name, call in ways.items()}
        times = time_interleaved(calls, rounds, warmup, device)
        names = next(iter(points.values()))
        series = {name: [float(np.median(times[f"{n} {name}"])) for n in points] for name in names}
        return _as_curve(unit, list(points), series)

    curves = {}
    with torch.inference_mode():
        if frames_seen:
            times = time_interleaved({"": step()}, frames_seen, warmup, device)[""]
            parts = np.array_split(times, min(blocks, frames_seen))
            ends = np.cumsum([len(part) for part in parts]).tolist()
            medians = {"whole frame": [float(np.median(part)) for part in parts]}
            curves["frames seen"] = _as_curve("frames seen with a full memory", ends, medians)
        if memory_frames:
            whole = {n: {"whole frame": step(max_frames=n)} for n in memory_frames}
            curves["memory"] = curve("frames in memory", whole)
            reads = {n: _reads(setup, original, elements, n) for n in memory_frames}
            curves["memory read"] = curve("frames in memory", reads)
        if image_sizes:
            sizes = {n: {"whole frame": step(n)} for n in image_sizes}
            curves["image size"] = curve("side in pixels", sizes)
        if streams:
            both = curve("streams", {n: {"all streams": step(streams=n)} for n in streams})
            total = np.array(both["series"]["all streams"]["ms"])
            each = {"frame of one stream": (total / np.array(streams)).tolist()}
            both["series"].update(_as_curve("", list(streams), each)["series"])
            curves["streams"] = both
    return curves


def _reads(setup: Setup, network: SALI, elements: Elements, num_frames: int) -> dict[str, Call]:
    """Return all ways of reading a memory of a number of frames."""
    bank = network.start(max_frames=num_frames).bank
    assert network.long_term and bank
    fill(bank, elements, setup.memory_noise, setup.seed)
    inputs = (elements[0], bank.elements(), network.long_term.top_k)
    return {name: partial(read_levels, way, *inputs) for name, way in MEMORY_READS.items()}


def _as_curve(unit: str, x: list[int], series: dict[str, list[float]]) -> Curve:
    return {
        "unit": unit,
        "x": x,
        "series": {
            name: {"ms": ms, "exponent": fit_exponent(x, ms)} for name, ms in series.items()
        },
    }
