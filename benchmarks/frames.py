"""Whole frames with a full memory: the released way, ours, exported bundles, the backbone."""

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
from sali.export.quantise import Calibration
from sali.export.write import export_network
from sali.models.sali import SALI, MemoryBank
from sali.report.overlay import draw_overlay
from sali.runtime import Segmenter
from sali.runtime.memory import Level
from sali.runtime.states import MemoryState
from sali.streaming import StreamSegmenter, prepare_network
from sali.streaming.segmenter import step_tensors

BACKBONE = "backbone"
"""The yardstick: one float32 pass of the unprepared backbone over one image."""

BUNDLES = {
    "onnx": ("onnx", "32"),
    "openvino": ("openvino", "32"),
    "openvino, encoder bf16": ("openvino", "16"),
    "openvino, encoder int8": ("openvino", "int8"),
}
"""Exported bundles by name: format and precision."""
FLOAT_LAYERS = 12
"""Layers that int8 leaves in floating point, as many as the shipped weights keep."""

Step = Callable[[np.ndarray, np.ndarray], object]
"""Takes a frame and the next one."""


def measure_frames(
    setup: Setup, variants: Mapping[str, Variant], rounds: int, warmup: int, memory_steps: int
) -> dict[str, Table]:
    """Time whole frames, from arrays, from JPEG files, and from there to the overlay that is shown.

    Returns:
        Times, peaks of memory, and how our maps differ from the released way's.
    """
    device = setup.start()
    frames, images, network, elements = setup.scene()
    prepared = {name: setup.prepare(network, variant) for name, variant in variants.items()}
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
    """Return {"max", "mean"} of the absolute difference of the maps over a short stream.

    Ours looks one frame ahead and evicts as released here; the last of the images [T, 3, S, S] is
    only a neighbor.
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


def measure_export(
    setup: Setup, variants: Mapping[str, Variant], rounds: int, warmup: int
) -> dict[str, Table]:
    """Time whole frames from arrays, all ways in turns; ratios are to the first variant."""
    device = setup.start()
    frames, _, network, elements = setup.scene()
    ways: dict[str, Call] = {}
    for name, variant in variants.items():
        stream = setup.full_stream(setup.prepare(network, variant), variant, elements)
        ways[f"torch {name}"] = over(frames, as_step(stream))
    baseline = next(iter(ways))
    bank = MemoryBank(**{n: v for n, v in network.video_settings.items() if n != "neighbor"})
    fill(bank, elements, setup.memory_noise, setup.seed)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for name, (file_format, precision) in BUNDLES.items():
            path = Path(folder) / name.replace(" ", "_")
            segmenter = _bundle(setup, network, path, file_format, precision, frames)
            _fill_as(segmenter, bank)
            ways[name] = over(frames, as_step(segmenter))
        times = time_interleaved(ways, rounds, warmup, device)
    return {"whole frame": summarize(times, (baseline,))}


def _bundle(
    setup: Setup,
    network: SALI,
    path: Path,
    file_format: str,
    precision: str,
    frames: list[np.ndarray],
) -> Segmenter:
    settings = {
        "image_size": setup.image_size,
        "smoothing": 0,
        "decode": "fast",
        "maps": "probability",
        "video": network.video_settings,
    }
    copy = setup.build_network()
    copy.load_state_dict(network.state_dict())
    int8 = Calibration(frames, [FLOAT_LAYERS], min_dice=0) if precision == "int8" else None
    export_network(copy, settings, path, file_format, precision, {}, int8)
    return Segmenter(path, threads=setup.threads)


def _fill_as(segmenter: Segmenter, bank: MemoryBank) -> None:
    """Give a segmenter the elements of a bank of PyTorch's."""
    video = segmenter.video
    assert isinstance(video, MemoryState) and video.bank is not None
    video.bank.grids = bank.grids
    video.bank.levels = [
        Level(**{name: x.cpu().numpy() for name, x in {**vars(level), "key": level.key.T}.items()})
        for level in bank.levels
    ]
