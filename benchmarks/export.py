"""Whole frames with a full memory: PyTorch against exported bundles."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.frames import as_step, over
from benchmarks.setup import Setup, Variant, fill, frame_elements
from benchmarks.timing import Call, Table, summarize, time_interleaved
from sali.export.quantise import Calibration
from sali.export.write import export_network
from sali.models.sali import SALI
from sali.models.sali.bank import MemoryBank
from sali.runtime import Segmenter
from sali.runtime.memory import Level
from sali.runtime.states import MemoryState

BUNDLES = {
    "onnx": ("onnx", "32"),
    "openvino": ("openvino", "32"),
    "openvino, encoder bf16": ("openvino", "16"),
    "openvino, encoder int8": ("openvino", "int8"),
}
"""Name -> format and precision."""
FLOAT_LAYERS = 6
"""Layers that int8 leaves in floating point: the middle of the numbers that `sali.export` tries."""


def measure_export(
    setup: Setup, variants: Mapping[str, Variant], rounds: int, warmup: int
) -> dict[str, Table]:
    """Time whole frames from arrays, all ways in turns.

    Args:
        setup: What is measured.
        variants: Ways of running the network with PyTorch, by name.
        rounds: Timed frames of each way.
        warmup: Rounds before those.

    Returns:
        Times, and their ratios to the first variant's.
    """
    device = setup.start()
    frames = setup.frames()
    images = setup.images(frames)
    network = setup.build_network(calibrate=images)
    elements = frame_elements(network, images)
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
    copy = setup.build_network("cpu")
    copy.load_state_dict(network.state_dict())
    int8 = Calibration(frames, [FLOAT_LAYERS], min_dice=0) if precision == "int8" else None
    export_network(copy, settings, path, file_format, precision, {}, int8)
    return Segmenter(path, threads=setup.threads)


def _fill_as(segmenter: Segmenter, bank: MemoryBank) -> None:
    """Give a segmenter the elements of a bank of PyTorch's."""
    video = segmenter.video
    assert isinstance(video, MemoryState) and video.bank is not None
    video.bank.grids, video.bank.first = bank.grids, bank.first
    video.bank.levels = [
        Level(**{name: x.cpu().numpy() for name, x in {**vars(level), "key": level.key.T}.items()})
        for level in bank.levels
    ]
