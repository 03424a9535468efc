"""Checks of `benchmarks.gpu_check` on whole uses: training, several processes, speed, bundles."""

import importlib
import importlib.util
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.frames import as_step, over
from benchmarks.gpu_parts import CheckError, Figures, SkippedError, Values, precision_of, within
from benchmarks.setup import Setup, Variant
from benchmarks.timing import peak_of, time_interleaved
from benchmarks.training import draw_samples, make_step
from sali.losses import StructureLoss
from sali.models.blocks import resize
from sali.models.checkpoint import load_network
from sali.models.shipped import find_checkpoint
from sali.runtime import Segmenter
from sali.streaming import StreamSegmenter


def training(setup: Setup, options: Values, name: str) -> Figures:
    """Optimizer steps, the first loss against the CPU's in float32."""

    def losses(where: str, precision: str, steps: int) -> list[float]:
        own = replace(setup, device=where)
        own.start()
        way = {"precision": precision, "context_gradient": True, "channels_last": True}
        step = make_step(own, options["options"], way)
        return [step() for _ in range(steps)]

    found = losses(setup.device, precision_of(name), options["steps"])
    (expected,) = losses("cpu", "32", 1)
    figures = {
        "first loss": found[0],
        "on the CPU": expected,
        "difference": abs(found[0] - expected) / expected,
        "last loss": found[-1],
    }
    if not all(map(math.isfinite, found)):
        raise CheckError("a loss is not finite", figures)
    return within(figures, "difference", options["bounds"][name])


def compiled(setup: Setup, options: Values, name: str) -> Figures:
    """Stream with `torch.compile` against one without."""
    frames, _, network, elements = setup.scene()
    maps: list[np.ndarray] = []
    for variant in (Variant("32", False), Variant("32", True)):
        stream = setup.full_stream(setup.prepare(network, variant), variant, elements)
        start = time.perf_counter()
        given = itertools.islice(itertools.cycle(frames), options["frames"])
        maps.append(np.stack([p for p in map(stream.step, given) if p is not None]))
    figures = {
        "largest difference": float(np.abs(maps[1] - maps[0]).max()),
        "seconds until then": time.perf_counter() - start,
    }
    return within(figures, "largest difference", options["tolerance"])


def two_processes(setup: Setup, options: Values, name: str) -> Figures:
    """One step of two processes, with NCCL on two GPUs or gloo on the CPU: equal gradients."""
    kind = torch.device(setup.device).type
    if kind == "cuda" and torch.cuda.device_count() < 2:
        raise SkippedError("one GPU; NCCL wants two")
    deadline = time.monotonic() + options["seconds"]
    with tempfile.TemporaryDirectory() as folder:
        processes = torch.multiprocessing.spawn(
            _one_of_two, (setup, kind, folder), nprocs=2, join=False
        )
        assert processes is not None
        try:
            while not processes.join(timeout=1):
                if time.monotonic() > deadline:
                    raise CheckError("the two processes hang", {})
        finally:
            for process in processes.processes:
                if process.is_alive():
                    process.kill()
        one, two = (json.loads((Path(folder) / f"{r}.json").read_text()) for r in range(2))
    figures = {"gradient": one, "difference": abs(one - two) / one}
    return within(figures, "difference", options["tolerance"])


def _one_of_two(rank: int, setup: Setup, kind: str, folder: str) -> None:
    """Compute the gradient of a sample of one's own, shared with the other process."""
    setup = replace(setup, device=f"cuda:{rank}" if kind == "cuda" else "cpu")
    device = setup.start()
    if kind == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if kind == "cuda" else "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
    )
    network = DistributedDataParallel(
        setup.build_network().train(), device_ids=[rank] if kind == "cuda" else None
    )
    sample = draw_samples(replace(setup, seed=setup.seed + rank), 1)
    side = (setup.image_size, setup.image_size)
    target = sample.masks[:, network.module.roles.index("current")]
    logits = [resize(one, size=side) for one in network(sample)]
    StructureLoss("weighted")(logits, target).backward()
    norms = [p.grad.double().norm() for p in network.parameters() if p.grad is not None]
    distributed.barrier()
    distributed.destroy_process_group()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(float(torch.stack(norms).norm())))


@torch.inference_mode()
def speed(setup: Setup, options: Values, name: str, backbone: str) -> Figures:
    """Frames a second and peak of memory of a backbone, with a full memory."""
    node = {**setup.model["backbone"], "name": backbone, "weights": None}
    setup = replace(setup, model={**setup.model, "backbone": node})
    device = setup.start()
    frames, _, network, elements = setup.scene()
    variant = Variant(precision_of(name), False)
    stream = setup.full_stream(setup.prepare(network, variant), variant, elements)
    del network
    call = over(frames, as_step(stream))
    times = time_interleaved({"": call}, options["rounds"], options["warmup"], device)[""]
    peak = peak_of(call, 2, device)["peak MiB"]
    median = float(np.median(times))
    return {"frames a second": 1000 / median, "ms": median, "peak MiB": peak}


def bundle(setup: Setup, options: Values, name: str) -> Figures:
    """Bundle of the shipped weights on onnxruntime against PyTorch on the CPU."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise SkippedError("onnxruntime is not installed")
    providers = importlib.import_module("onnxruntime").get_available_providers()
    is_cuda = torch.device(setup.device).type == "cuda"
    if is_cuda and "CUDAExecutionProvider" not in providers:
        raise SkippedError("onnxruntime is not the one for GPUs")
    network, _ = load_network(find_checkpoint(options["ckpt"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        command = [sys.executable, "-m", "sali.export", f"ckpt={options['ckpt']}"]
        done = subprocess.run([*command, f"output={path}"], capture_output=True, text=True)
        if done.returncode:
            raise CheckError((done.stderr.strip() or "no message").splitlines()[-1], {})
        theirs = Segmenter(path)
        ours = StreamSegmenter(network, theirs.bundle.settings["image_size"])
        gaps = []
        for frame in itertools.islice(itertools.cycle(setup.frames()), options["frames"]):
            one, other = ours.step(frame), theirs.step(frame)
            if one is None or other is None:
                raise CheckError("the shipped network has a result for every frame", {})
            gaps.append(np.abs(one - other).mean())
    figures = {"mean difference, grey levels": 255 * float(np.mean(gaps))}
    return within(figures, "mean difference, grey levels", options["tolerance"])
