"""Training steps: the released way and ours, on the same samples from the same weights."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.released_way import RELEASED, training_heads, training_loss
from benchmarks.setup import Setup, autocast
from benchmarks.timing import Table, in_fresh_process, peak_of, summarize, time_interleaved
from sali.data.frames import resize_mask
from sali.data.synthetic import draw_clip
from sali.losses import StructureLoss
from sali.models.blocks import resize
from sali.models.contract import ClipBatch
from sali.ops import use_fast_depthwise

ROLES = ("memory", "current", "neighbor")


Options = Mapping[str, Any]
"""What is trained, and ways of our step: `training` and `training_variants` of benchmark.yaml."""


def measure_training(
    setup: Setup,
    training: Options,
    variants: Mapping[str, Options],
    rounds: int,
    warmup: int,
    memory_steps: int,
) -> dict[str, Table]:
    """Time optimizer steps, and keep their losses: the same numbers in float32.

    Backbones whose batch norms see another batch in one pass than in three (EfficientNet, Res2Net)
    give different losses; those of PVTv2 have none.

    Returns:
        Times, losses of all steps, their largest relative difference from the released way's, and
        peaks of memory.
    """
    device = setup.start()
    ways: dict[str, Options | None] = {RELEASED: None, **variants}
    losses: dict[str, list[float]] = {name: [] for name in ways}

    def keeping(name: str, step: Callable[[], float]) -> Callable[[], None]:
        return lambda: losses[name].append(step())

    calls = {name: keeping(name, make_step(setup, training, way)) for name, way in ways.items()}
    times = time_interleaved(calls, rounds, warmup, device)
    expected = np.array(losses[RELEASED])
    tables = {
        "training step": summarize(times, (RELEASED,)),
        "losses": {
            name: {f"step {number}": loss for number, loss in enumerate(own)}
            for name, own in losses.items()
        },
        "difference of losses from the released way": {
            name: {"largest, relative": float(np.max(np.abs(losses[name] - expected) / expected))}
            for name in variants
        },
    }
    if memory_steps:
        tables["memory of a fresh process"] = {
            name: in_fresh_process(_peak_of_training, setup, training, way, memory_steps)
            for name, way in ways.items()
        }
    return tables


def draw_samples(setup: Setup, batch_size: int) -> ClipBatch:
    """Return samples of consecutive generated frames in the order of `ROLES`."""
    clip = draw_clip(setup.seed, 1, 1, batch_size + len(ROLES) - 1, *setup.frame_size)
    frames, drawn = zip(*clip, strict=True)
    side = setup.image_size
    masks = [torch.from_numpy(resize_mask((m > 127).astype(np.uint8), side)) for m in drawn]
    index = torch.arange(batch_size)[:, None] + torch.arange(len(ROLES))
    images = setup.images(list(frames))
    return ClipBatch(images[index], torch.stack(masks).float().unsqueeze(1)[index].to(images))


def make_step(setup: Setup, training: Options, variant: Options | None) -> Callable[[], float]:
    """Return a training step with a network of its own, which returns the loss.

    The backbone has no stochastic depth: it draws differently in one pass and in three, so losses
    could not be compared. Without a variant it is the released way.
    """
    backbone = {"name": training["backbone"], "weights": None, "drop_path_rate": 0.0}
    model = {**setup.model, "backbone": {**setup.model["backbone"], **backbone}}
    if variant is not None:
        model["context_gradient"] = variant["context_gradient"]
    network = replace(setup, model=model, pretrained=False).build_network().train()
    assert network.roles == ROLES
    samples = draw_samples(setup, training["batch_size"])
    target = samples.masks[:, ROLES.index("current")]
    loss = StructureLoss(training["bce"])

    def released_forward() -> Tensor:
        memory, current, neighbor = samples.frames.unbind(1)
        heads = training_heads(network, current, memory, samples.masks[:, 0], neighbor)
        return training_loss(heads, target)

    def our_forward(precision: str) -> Tensor:
        with autocast(target.device, precision):
            side = (setup.image_size, setup.image_size)
            return loss([resize(logits, size=side) for logits in network(samples)], target)

    if variant is not None:
        use_fast_depthwise(network)
        if variant["channels_last"]:
            network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=training["lr"])

    def step() -> float:
        optimizer.zero_grad()
        total = released_forward() if variant is None else our_forward(variant["precision"])
        total.backward()
        torch.nn.utils.clip_grad_value_(network.parameters(), training["clip_value"])
        optimizer.step()
        return total.item()

    return step


def _peak_of_training(
    setup: Setup, training: Options, variant: Options | None, steps: int
) -> dict[str, float]:
    """Return the memory of a fresh process that trains in one way, see `peak_of`."""
    device = setup.start()
    return peak_of(make_step(setup, training, variant), steps, device)
