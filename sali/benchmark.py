"""Speed and memory of the parts of the network and of whole frames, side by side.

python -m sali.benchmark backbone=pvt_v2_b0
"""

import logging
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from sali.build import network_options, pick_device
from sali.cli import command
from sali.config import check_config
from sali.models.network import SALI
from sali.run_record import provenance, write_json
from sali.streaming import StreamSegmenter
from sali.streaming.segmenter import PRECISIONS

log = logging.getLogger(__name__)

MEGABYTE = 2**20


def measure(function: Callable[[], Any], repeats: int, device: torch.device) -> dict[str, float]:
    """Median, fastest and slowest run in milliseconds, after one run that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1000 * (time.perf_counter() - start))
    counted = times[1:]
    return {"median_ms": statistics.median(counted), "min_ms": min(counted), "max_ms": max(counted)}


def peak_memory(device: torch.device) -> float:
    """Largest memory of the process so far, or of the GPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def fill_memory(segmenter: StreamSegmenter, frames: np.ndarray) -> None:
    """Stream frames until the memory bank holds all that it may."""
    for t in range(segmenter.max_frames * segmenter.every):
        segmenter.step(frames[t % len(frames)])


def parts_of(
    segmenter: StreamSegmenter, image: torch.Tensor, frame: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """What is timed, by name; the memory bank must be full."""
    network = segmenter.network
    features = network.backbone(image)
    pyramid = network.reduction(features)
    parts: dict[str, Callable[[], Any]] = {
        "backbone": lambda: network.backbone(image),
        "reduction": lambda: network.reduction(features),
    }
    query = remembered = None
    if network.long_term is not None:
        long_term, memory = network.long_term, segmenter.bank.elements()
        query = long_term.project(pyramid)
        remembered, _ = long_term(pyramid, query, memory)
        parts["keys and values"] = lambda: long_term.project(pyramid)
        parts["memory read"] = lambda: long_term(pyramid, query, memory)
    if network.fusion is not None:
        neighbor = pyramid if network.short_term is not None else None
        fused = network.fuse(pyramid, remembered, neighbor)
        parts["alignment and fusion"] = lambda: network.fuse(pyramid, remembered, neighbor)
    else:
        fused = pyramid
    parts["decoder"] = lambda: network.decoder(fused)
    parts["whole frame"] = lambda: segmenter.step(frame)
    return parts


def benchmark(cfg: DictConfig) -> dict[str, Any]:
    """Time the parts and a whole frame with a full memory.

    Returns:
        {"parts": {name: {"median_ms", "min_ms", "max_ms"}}, "peak_memory_mib": ..., "run": ...}.
    """
    check_config(cfg)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    device = pick_device(cfg.device)
    network = SALI(**network_options(cfg)).eval().to(device)
    segmenter = StreamSegmenter(
        network,
        image_size=cfg.image_size,
        max_frames=cfg.memory.max_frames,
        every=1,  # fills the memory in as few frames as can be
        eviction=cfg.memory.eviction,
        neighbor=cfg.compat.neighbor,
        precision=str(cfg.precision),
    )
    rng = np.random.default_rng(cfg.seed)
    shape = (4, cfg.image_size, cfg.image_size, 3)
    frames = rng.integers(0, 256, shape, dtype=np.uint8)
    fill_memory(segmenter, frames)
    image = torch.randn(1, 3, cfg.image_size, cfg.image_size, device=device)
    dtype = PRECISIONS[str(cfg.precision)]
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
    ):
        parts = {
            name: measure(part, cfg.repeats, device)
            for name, part in parts_of(segmenter, image, frames[0]).items()
        }
    return {
        "parts": parts,
        "peak_memory_mib": peak_memory(device),
        "run": provenance(
            seed=cfg.seed,
            device=str(device),
            backbone=cfg.backbone.name,
            image_size=cfg.image_size,
            memory_frames=cfg.memory.max_frames if cfg.memory.enabled else 0,
            precision=str(cfg.precision),
        ),
    }


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table."""
    run = results["run"]
    lines = [
        f"{run['backbone']}, {run['image_size']} px, {run['memory_frames']} memory frames, "
        f"{run['precision']}, {run['device']}, {run['torch_threads']} threads, {run['machine']}; "
        f"peak memory {results['peak_memory_mib']:.0f} MiB",
        "",
        "| part | median ms | min | max |",
        "| --- | --- | --- | --- |",
    ]
    for name, part in results["parts"].items():
        values = " | ".join(f"{part[k]:.1f}" for k in ("median_ms", "min_ms", "max_ms"))
        lines.append(f"| {name} | {values} |")
    return "\n".join(lines) + "\n"


@command("benchmark")
def main(cfg: DictConfig) -> None:
    """Hydra's shell round ``benchmark``."""
    results = benchmark(cfg)
    output = Path(cfg.output)
    write_json(output / "benchmark.json", results)
    (output / "benchmark.md").write_text(table(results))
    log.info("%s\nresults: %s", table(results), output)


if __name__ == "__main__":
    main()
