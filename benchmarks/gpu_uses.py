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
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.frames import as_step, over
from benchmarks.gpu_parts import (
    Check,
    CheckError,
    Figures,
    SkippedError,
    Values,
    each,
    number_format,
    within,
)
from benchmarks.setup import Setup, Variant, frame_elements
from benchmarks.timing import peak_of, time_interleaved
from benchmarks.training import Training, TrainingVariant, draw_samples, make_step
from sali.losses import StructureLoss
from sali.models.blocks import resize
from sali.models.checkpoint import load_network
from sali.models.contract import ClipBatch
from sali.models.shipped import find_checkpoint
from sali.runtime import Segmenter
from sali.streaming import StreamSegmenter


def training_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """Optimizer steps under every precision, the first loss against the CPU's."""
    options = values["training"]
    training = Training(**options["options"])

    def losses(where: str, precision: str, steps: int) -> list[float]:
        own = replace(setup, device=where)
        own.start()
        step = make_step(own, training, TrainingVariant(precision, True, True))
        return [step() for _ in range(steps)]

    def check(_: Setup, values: Values, name: str) -> Figures:
        device = setup.start()
        with number_format(device, name) as precision:
            found = losses(setup.device, precision, options["steps"])
        expected = losses("cpu", "32", 1)[0]
        figures = {
            "first loss": found[0],
            "on the CPU": expected,
            "difference": abs(found[0] - expected) / expected,
            "last loss": found[-1],
        }
        if not all(map(math.isfinite, found)):
            raise CheckError("a loss is not finite", figures)
        return within(figures, "difference", options["bounds"][name])

    return each(setup, values, "training step", check)


def compile_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """Stream with `torch.compile` against one without."""
    options = values["compile"]

    def check() -> Figures:
        setup.start()
        frames = setup.frames()
        images = setup.images(frames)
        network = setup.build_network(calibrate=images)
        elements = frame_elements(network, images)
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

    return {"torch.compile, 32": check}


def process_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """One step of two processes, with NCCL on two GPUs or gloo on the CPU: equal gradients."""

    def check() -> Figures:
        kind = setup.start().type
        if kind == "cuda" and torch.cuda.device_count() < 2:
            raise SkippedError("one GPU; NCCL wants two")
        deadline = time.monotonic() + values["processes"]["seconds"]
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
        figures = {
            "gradient": one["gradient"],
            "difference": abs(one["gradient"] - two["gradient"]) / one["gradient"],
        }
        return within(figures, "difference", values["processes"]["tolerance"])

    return {"two processes": check}


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
    sample: ClipBatch = draw_samples(replace(setup, seed=setup.seed + rank), 1)
    side = (setup.image_size, setup.image_size)
    target = sample.masks[:, network.module.roles.index("current")]
    logits = [resize(one, size=side) for one in network(sample)]
    StructureLoss("weighted")(logits, target).backward()
    norms = [p.grad.double().norm() for p in network.parameters() if p.grad is not None]
    distributed.barrier()
    distributed.destroy_process_group()
    result = {"gradient": float(torch.stack(norms).norm())}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(result))


def speed_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """Frames a second and peak of memory with a full memory, by backbone and precision."""
    options = values["speed"]

    def check(backbone: str, _: Setup, values: Values, name: str) -> Figures:
        node = {**setup.model["backbone"], "name": backbone, "weights": None}
        own = replace(setup, model={**setup.model, "backbone": node})
        device = own.start()
        with number_format(device, name) as precision, torch.inference_mode():
            frames = own.frames()
            images = own.images(frames)
            network = own.build_network(calibrate=images)
            elements = frame_elements(network, images)
            variant = Variant(precision, False)
            stream = own.full_stream(own.prepare(network, variant), variant, elements)
            del network
            call = over(frames, as_step(stream))
            times = time_interleaved({"": call}, options["rounds"], options["warmup"], device)[""]
            peak = peak_of(call, 2, device)["peak MiB"]
        median = float(np.median(times))
        return {"frames a second": 1000 / median, "ms": median, "peak MiB": peak}

    rows: dict[str, Check] = {}
    for backbone in options["backbones"]:
        rows |= each(setup, values, f"speed: {backbone}", partial(check, backbone))
    return rows


def bundle_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """Compare a bundle of the shipped weights on onnxruntime with PyTorch on the CPU."""
    options = values["bundle"]

    def check() -> Figures:
        if importlib.util.find_spec("onnxruntime") is None:
            raise SkippedError("onnxruntime is not installed")
        providers = importlib.import_module("onnxruntime").get_available_providers()
        provider = "CUDAExecutionProvider"
        if setup.start().type == "cuda" and provider not in providers:
            raise SkippedError("onnxruntime is not the one for GPUs")
        network, _ = load_network(find_checkpoint(options["ckpt"]))
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "bundle"
            command = [sys.executable, "-m", "sali.export", f"ckpt={options['ckpt']}"]
            done = subprocess.run([*command, f"output={bundle}"], capture_output=True, text=True)
            if done.returncode:
                raise CheckError((done.stderr.strip() or "no message").splitlines()[-1], {})
            theirs = Segmenter(bundle)
            ours = StreamSegmenter(network.eval(), theirs.bundle.settings["image_size"])
            gaps = []
            for frame in itertools.islice(itertools.cycle(setup.frames()), options["frames"]):
                one, other = ours.step(frame), theirs.step(frame)
                if one is None or other is None:
                    raise CheckError("the shipped network has a result for every frame", {})
                gaps.append(np.abs(one - other).mean())
        figures = {"mean difference, grey levels": 255 * float(np.mean(gaps))}
        return within(figures, "mean difference, grey levels", options["tolerance"])

    return {"export bundle": check}
