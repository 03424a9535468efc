"""Whole frames with a full memory: the released way, ours, and one plain backbone pass."""

import itertools
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.released_way import RELEASED, ReleasedStream
from benchmarks.setup import Elements, Setup, Variant, fill, frame_elements, write_jpegs
from benchmarks.timing import Call, Table, in_fresh_process, peak_of, summarize, time_interleaved
from sali.data.frames import read_frame
from sali.models.sali import SALI
from sali.report.overlay import draw_overlay
from sali.runtime import Segmenter
from sali.streaming import StreamSegmenter, prepare_network
from sali.streaming.segmenter import step_tensors

BACKBONE = "backbone"
"""The yardstick: one float32 pass of the unprepared backbone over one image."""

Step = Callable[[np.ndarray, np.ndarray], object]
"""Takes a frame and the next one."""


def measure_frames(
    setup: Setup, variants: Mapping[str, Variant], rounds: int, warmup: int, memory_steps: int
) -> dict[str, Table]:
    """Time whole frames, from arrays, from JPEG files, and from there to the overlay that is shown.

    Args:
        setup: What is measured.
        variants: Ways of running our network, by name.
        rounds: Timed frames of each variant.
        warmup: Rounds before those.
        memory_steps: Frames of a fresh process before its peak of memory is read; 0 for no peaks.

    Returns:
        Times, peaks of memory, and how our maps differ from the released way's.
    """
    device = setup.start()
    frames = setup.frames()
    images = setup.images(frames)
    network = setup.build_network(calibrate=images)
    prepared = {name: setup.prepare(network, variant) for name, variant in variants.items()}
    elements = frame_elements(network, images)
    steps: dict[str, Step] = {RELEASED: _released_stream(setup, network, elements).step}
    for name, variant in variants.items():
        steps[name] = as_step(setup.full_stream(prepared[name], variant, elements))
    tables: dict[str, Table] = {}
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        files = write_jpegs(frames, Path(folder))
        for table, ways in {
            "whole frame": {name: over(frames, step) for name, step in steps.items()},
            "whole frame from a JPEG file": {
                name: over(files, _reading(step, None if name == RELEASED else setup.image_size))
                for name, step in steps.items()
            },
            "latency from a JPEG file to an overlay": {
                name: over(files, _to_overlay(steps[name])) for name in variants
            },
        }.items():
            ways[BACKBONE] = partial(network.backbone, images[:1])
            times = time_interleaved(ways, rounds, warmup, device)
            tables[table] = summarize(times, (RELEASED, BACKBONE))
    tables["difference of maps from the released way"] = {
        name: compare_maps(setup, network, prepared[name], variant, images)
        for name, variant in variants.items()
    }
    if memory_steps:
        tables["memory of a fresh process"] = {
            name: in_fresh_process(_peak_of_stream, setup, variant, memory_steps)
            for name, variant in {RELEASED: None, **variants}.items()
        }
    return tables


def _released_stream(
    setup: Setup, network: SALI, elements: Elements | None = None
) -> ReleasedStream:
    """Return a released stream, with a full memory if there are elements to fill it with."""
    settings = network.video_settings
    stream = ReleasedStream(network, setup.image_size, settings["max_frames"], settings["every"])
    if elements is not None:
        fill(stream.bank, elements, setup.memory_noise, setup.seed)
    return stream


def as_step(segmenter: StreamSegmenter | Segmenter) -> Step:
    """Return the step of a segmenter, which needs no later frame."""
    return lambda frame, _: segmenter.step(frame)


def over(items: list[Any], step: Callable[[Any, Any], object]) -> Call:
    """Return a call that takes the next pair of neighbors, again and again."""
    pairs = itertools.cycle(zip(items, items[1:] + items[:1], strict=True))
    return lambda: step(*next(pairs))


def _reading(step: Step, near: int | None) -> Callable[[Path, Path], object]:
    """Return a step after decoding frame and neighbor in full, or one near the wanted size."""

    def call(file: Path, neighbor: Path) -> object:
        frame = read_frame(file, near)[0]
        return step(frame, read_frame(neighbor)[0] if near is None else frame)

    return call


def _to_overlay(step: Step) -> Callable[[Path, Path], np.ndarray]:
    """Return a step after decoding a frame and before drawing its result over it, at its size."""

    def call(file: Path, neighbor: Path) -> np.ndarray:
        frame = read_frame(file)[0]
        probability = step(frame, frame)
        assert isinstance(probability, np.ndarray)
        return draw_overlay(frame, probability)

    return call


def compare_maps(
    setup: Setup, network: SALI, prepared: SALI, variant: Variant, images: Tensor
) -> dict[str, float]:
    """Compare our probabilities with those of the released way over a short stream.

    Ours looks one frame ahead and evicts as released here.

    Args:
        setup: Gives the size of the maps.
        network: Network of the released way.
        prepared: Our network, as the variant runs it.
        variant: Gives the precision.
        images: Images [T, 3, S, S], T at least 2; the last one is only a neighbor.

    Returns:
        {"max", "mean"} of the absolute difference over all pixels.
    """
    size = setup.frame_size
    theirs = _released_stream(setup, network)
    changes: dict[str, Any] = {"neighbor": "next", "eviction": "released"}
    ours = StreamSegmenter(prepared, setup.image_size, variant.precision, **changes)
    step_tensors([ours], [images[0]], [size])
    gaps = []
    for image, neighbor in itertools.pairwise(images):
        (probability,) = step_tensors([ours], [neighbor], [size])
        assert probability is not None
        gaps.append((probability - theirs.probability(image[None], neighbor[None], size)).abs())
    gap = torch.stack(gaps)
    return {"max": float(gap.max()), "mean": float(gap.mean())}


def _peak_of_stream(setup: Setup, variant: Variant | None, steps: int) -> dict[str, float]:
    """Return the memory of a fresh process that streams in one way, see `peak_of`."""
    device = setup.start()
    frames = setup.frames()
    images = setup.images(frames)
    network = setup.build_network()
    elements = frame_elements(network, images)
    if variant is None:
        step: Step = _released_stream(setup, network, elements).step
    else:
        prepare_network(network, setup.image_size, variant.precision, variant.compiled)
        step = as_step(setup.full_stream(network, variant, elements))
    return peak_of(over(frames, step), steps, device)
