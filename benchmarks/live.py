"""A video file segmented as a live stream would be, each way in a process of its own.

Bundles run without PyTorch, so this file imports it only where a way needs it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from benchmarks.process import packages_mib, peak_mib
from sali.data.frames import read_frame
from sali.data.video.decoding import decode_video
from sali.models.shipped import SAMPLE
from sali.report.overlay import draw_overlay

if TYPE_CHECKING:
    from benchmarks.setup import Setup, Variant

RATE = 25
"""Frames per second of the video; it is read as fast as its frames are taken."""

Step = Callable[[np.ndarray, np.ndarray], np.ndarray | None]
"""Takes a frame and the next one."""


def measure_live(
    setup: "Setup",
    variants: Mapping[str, "Variant"],
    ckpt: str,
    bundles: list[str],
    frames: int,
    warmup: int,
) -> dict[str, dict[str, dict[str, float]]]:
    """Measure ways of segmenting the clip that comes with the package, from an H.264 file.

    Args:
        setup: Network and size of the released way, and the threads of all.
        variants: Ways of running the checkpoint with PyTorch, by name.
        ckpt: Checkpoint, or name of shipped weights.
        bundles: Folders of exported networks.
        frames: Timed frames of each way.
        warmup: Frames with the full memory before those.

    Returns:
        One row for each way, see `play`.
    """
    ways: dict[str, dict[str, Any]] = {"released": {"setup": asdict(setup)}}
    ways |= {
        f"torch {name}": {"ckpt": ckpt, "precision": str(variant.precision)}
        for name, variant in variants.items()
    }
    ways |= {Path(folder).name: {"bundle": folder} for folder in bundles}
    rows = {}
    with TemporaryDirectory() as folder:
        video = Path(folder) / "sample.mp4"
        write_sample(video)
        common = {"video": str(video), "frames": frames, "warmup": warmup, "threads": setup.threads}
        for name, way in ways.items():
            given = json.dumps({**common, **way, "started": time.time()})
            command = [sys.executable, "-m", "benchmarks.live", given]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows[name] = json.loads(done.stdout)
    return {"live": rows}


def write_sample(video: Path) -> None:
    """Write the clip that comes with the package as a video file."""
    frames = [read_frame(file)[0] for file in sorted(SAMPLE.glob("Frame/*/*"))]
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))


def play(way: Mapping[str, Any]) -> dict[str, float]:
    """Segment frames of a video in one way.

    Args:
        way: What `measure_live` sends.

    Returns:
        "start-up s" from the start of the process to the first map; then with a full memory
        "median ms" and "p95 ms" from taking a frame out of the file to its map, "latency ms" and
        "latency p95 ms" to its overlay; "peak MiB" of the process and "packages MiB" of all
        packages that it loaded, as they lie on the disk.
    """
    step, bank, capacity = _ready(way)
    frames = _endless(Path(way["video"]))
    frame = next(frames)
    step(frame, frame)
    row = {"start-up s": time.time() - way["started"]}
    every, bank.every = bank.every, 1
    for _ in range(capacity + 1):
        frame, last = next(frames), frame
        step(last, frame)
    bank.every = every
    maps, overlays = [], []
    for _ in range(way["warmup"] + way["frames"]):
        start = time.perf_counter()
        frame, last = next(frames), frame
        probability = step(last, frame)
        maps.append(1000 * (time.perf_counter() - start))
        assert probability is not None
        draw_overlay(last, probability)
        overlays.append(1000 * (time.perf_counter() - start))
    for prefix, times in (("", maps), ("latency ", overlays)):
        median, high = np.percentile(times[way["warmup"] :], [50, 95])
        row |= {f"{prefix}median ms": float(median), f"{prefix}p95 ms": float(high)}
    return row | {"peak MiB": peak_mib(), "packages MiB": packages_mib()}


def _ready(way: Mapping[str, Any]) -> tuple[Step, Any, int]:
    """Return the step of a way, what decides how often it stores a frame, and how many it may."""
    if "bundle" in way:
        from sali.runtime import Segmenter

        ours: Any = Segmenter(way["bundle"], threads=way["threads"])
        bank = ours.video.bank
        return lambda frame, _: ours.step(frame), bank, bank.max_frames
    if "ckpt" in way:
        import torch

        from sali.models.checkpoint import load_network
        from sali.models.shipped import find_checkpoint
        from sali.streaming import StreamSegmenter, prepare_network

        if way["threads"]:
            torch.set_num_threads(way["threads"])
        network, trained = load_network(find_checkpoint(way["ckpt"]))
        side, precision = trained["streaming"]["image_size"], way["precision"]
        ours = StreamSegmenter(prepare_network(network, side, precision), side, precision)
        bank = ours.video.bank
        return lambda frame, _: ours.step(frame), bank, bank.max_frames
    from benchmarks.released_way import ReleasedStream
    from benchmarks.setup import Setup

    setup = Setup(**way["setup"])
    setup.start()
    network = setup.build_network(calibrate=setup.images(setup.frames()))
    settings = network.video_settings
    stream = ReleasedStream(network, setup.image_size, settings["max_frames"], settings["every"])

    def released(frame: np.ndarray, neighbor: np.ndarray) -> np.ndarray:
        return np.float32(1 / 255) * stream.step(frame, neighbor)

    return released, stream, settings["max_frames"]


def _endless(video: Path) -> Iterator[np.ndarray]:
    while True:
        for picture in decode_video(video):
            assert picture.rgb is not None
            yield picture.rgb


if __name__ == "__main__":
    sys.stdout.write(json.dumps(play(json.loads(sys.argv[1]))))
