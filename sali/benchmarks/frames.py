"""Whole frames with a full memory: the released way, ours, and one plain backbone beside them."""

import itertools
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sali.benchmarks.memory import PEAK_TABLE, in_fresh_process, peak_of
from sali.benchmarks.parts import RELEASED
from sali.benchmarks.released_way import ReleasedStream
from sali.benchmarks.setup import (
    Setup,
    Variant,
    autocast,
    fill,
    frame_elements,
    write_jpegs,
)
from sali.benchmarks.timing import Call, summarize, time_interleaved
from sali.data.frames import read_frame
from sali.models.sali.network import SALI
from sali.streaming import prepare_network

BACKBONE = "backbone"
"""The yardstick: one float32 pass of the unprepared backbone over one image."""


def measure_frames(
    setup: Setup,
    variants: Mapping[str, Variant],
    rounds: int,
    warmup: int,
    memory_steps: int,
) -> dict[str, Any]:
    """Time whole frames, from arrays and from JPEG files.

    Args:
        setup: what is measured.
        variants: of our network, by name.
        rounds: timed frames of each variant.
        warmup: rounds before those.
        memory_steps: frames that a fresh process streams before its peak of memory is read; 0
            leaves that out.

    Returns:
        {"timings": {table: rows of ``summarize``}, "tables": {``PEAK_TABLE``: {way: see
        ``peak_of``}}, "checks": see ``compare_maps``}.
    """
    device = setup.start()
    frames = setup.frames()
    images = setup.images(frames)
    network = setup.build_network(calibrate=images)
    prepared = {name: variant.prepare(network) for name, variant in variants.items()}
    steps = {RELEASED: _full_stream(setup, network, None, images)}
    for name, variant in variants.items():
        steps[name] = _full_stream(setup, prepared[name], variant, images)
    timings = {}
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        files = write_jpegs(frames, Path(folder))
        for table, ways in {
            "whole frame": _on_arrays(steps, frames),
            "whole frame from a JPEG file": _on_files(steps, files, setup.image_size),
        }.items():
            ways[BACKBONE] = partial(network.backbone, images[:1])
            times = time_interleaved(ways, rounds, warmup, device)
            timings[table] = summarize(times, (RELEASED, BACKBONE))
        differences = {
            name: compare_maps(setup, network, prepared[name], variant, images)
            for name, variant in variants.items()
        }
    found = {
        "timings": timings,
        "checks": {"difference of maps from the released way": differences},
    }
    if memory_steps:
        peaks = {
            name: in_fresh_process(_peak_of_stream, setup, variant, memory_steps)
            for name, variant in {RELEASED: None, **variants}.items()
        }
        found["tables"] = {PEAK_TABLE: peaks}
    return found


Step = Callable[[np.ndarray, np.ndarray], object]
"""Takes a frame and the next one."""


def _full_stream(setup: Setup, network: SALI, variant: Variant | None, images: Tensor) -> Step:
    """A stream with a full memory: the released way, or ours in a variant of a prepared network."""
    if variant is None:
        theirs = ReleasedStream(network, setup.image_size, setup.max_frames, setup.every)
        fill(theirs.bank, frame_elements(network, images), setup, setup.max_frames)
        return theirs.step
    ours = setup.segmenter(network, variant)
    with autocast(images.device, variant.precision):
        elements = frame_elements(network, images)
    fill(ours.bank, elements, setup, setup.max_frames)
    return lambda frame, _: ours.step(frame)


def _on_arrays(streams: Mapping[str, Step], frames: list[np.ndarray]) -> dict[str, Call]:
    def over_frames(step: Step) -> Call:
        pairs = itertools.cycle(zip(frames, frames[1:] + frames[:1], strict=True))
        return lambda: step(*next(pairs))

    return {name: over_frames(step) for name, step in streams.items()}


def _on_files(streams: Mapping[str, Step], files: list[Path], image_size: int) -> dict[str, Call]:
    """The released loader decodes frame and neighbor in full; ours one, near the wanted size."""

    def over_files(name: str, step: Step) -> Call:
        pairs = itertools.cycle(zip(files, files[1:] + files[:1], strict=True))

        def call() -> object:
            frame, neighbor = next(pairs)
            if name == RELEASED:
                return step(read_frame(frame)[0], read_frame(neighbor)[0])
            image = read_frame(frame, near=image_size)[0]
            return step(image, image)

        return call

    return {name: over_files(name, step) for name, step in streams.items()}


def compare_maps(
    setup: Setup, network: SALI, prepared: SALI, variant: Variant, images: Tensor
) -> dict[str, float]:
    """Difference of our probabilities from the released way's over a short stream.

    Ours looks one frame ahead and evicts as released here.

    Args:
        setup: gives the memory and the size of the maps.
        network: of the released way.
        prepared: ours.
        variant: how ours runs.
        images: [T, 3, S, S], T at least 2; the last one is only a neighbor.

    Returns:
        {"max", "mean"} of the absolute difference over all pixels.
    """
    size = (setup.frame_height, setup.frame_width)
    theirs = ReleasedStream(network, setup.image_size, setup.max_frames, setup.every)
    ours = setup.segmenter(prepared, variant, neighbor="next", eviction="released")
    ours.step_tensor(images[0], size)
    gaps = []
    for image, neighbor in itertools.pairwise(images):
        probability = ours.step_tensor(neighbor, size)
        assert probability is not None
        gaps.append((probability - theirs.probability(image[None], neighbor[None], size)).abs())
    gap = torch.stack(gaps)
    return {"max": float(gap.max()), "mean": float(gap.mean())}


def _peak_of_stream(setup: Setup, variant: Variant | None, steps: int) -> dict[str, float]:
    """Memory of a fresh process that streams in one way: before its first frame, and at most."""
    device = setup.start()
    network = setup.build_network()
    if variant is not None:
        prepare_network(network, variant.precision, variant.compiled)
    frames = setup.frames()
    images = setup.images(frames)
    step = _full_stream(setup, network, variant, images)
    return peak_of(_on_arrays({"": step}, frames)[""], steps, device)
