"""Training steps: the released way beside ours, on the same samples from the same weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sali.benchmarks.memory import PEAK_TABLE, in_fresh_process, peak_of
from sali.benchmarks.parts import RELEASED
from sali.benchmarks.released_way import training_heads, training_loss
from sali.benchmarks.setup import Setup, autocast
from sali.benchmarks.timing import summarize, time_interleaved
from sali.data.frames import resize_frame, resize_mask
from sali.data.synthetic import draw_clip
from sali.data.tensors import to_tensor
from sali.losses import StructureLoss
from sali.models.sali.network import SALI


@dataclass(frozen=True)
class TrainingVariant:
    """One way of our training step.

    Attributes:
        precision: "32", "bf16" or "16".
        context_gradient: False encodes memory and neighbor without gradient.
        channels_last: memory order of the weights; activations follow.
    """

    precision: str
    context_gradient: bool
    channels_last: bool


@dataclass(frozen=True)
class Training:
    """What is trained.

    Attributes:
        backbone: timm model name.
        batch_size: samples per step, of three frames each.
        lr: learning rate of Adam.
        clip_value: bound of every gradient element.
        bce: term of our loss; "released" makes the losses comparable.
    """

    backbone: str
    batch_size: int
    lr: float
    clip_value: float
    bce: str


class Samples(NamedTuple):
    """One batch of images [B, 3, S, S] and masks of 0/1 [B, 1, S, S]."""

    memory: Tensor
    current: Tensor
    neighbor: Tensor
    memory_mask: Tensor
    mask: Tensor


def measure_training(
    setup: Setup,
    training: Training,
    variants: Mapping[str, TrainingVariant],
    rounds: int,
    warmup: int,
    memory_steps: int,
) -> dict[str, Any]:
    """Time optimizer steps, and keep their losses: the same numbers in float32.

    Backbones whose batch norms see another batch in one pass than in three (EfficientNet, Res2Net)
    give different losses; those of PVTv2 have none.

    Args:
        setup: image size, weights' seed and device.
        training: what is trained.
        variants: of our step, by name.
        rounds: timed steps of each way.
        warmup: steps before those.
        memory_steps: steps of a fresh process before its peak of memory is read; 0 leaves that out.

    Returns:
        {"timings": {"training step": rows of ``summarize``}, "tables": {``PEAK_TABLE``: {way:
        see ``peak_of``}}, "checks": {"losses": {way: of every step}, "largest
        relative difference ...": {variant: over all steps}}}.
    """
    device = setup.start()
    setup = of_training(setup, training)
    samples = draw_samples(setup, training.batch_size)
    ways: dict[str, TrainingVariant | None] = {RELEASED: None, **variants}
    losses: dict[str, list[float]] = {name: [] for name in ways}

    def keeping(name: str, step: Callable[[], float]) -> Callable[[], None]:
        return lambda: losses[name].append(step())

    calls = {
        name: keeping(name, make_step(setup, training, variant, samples))
        for name, variant in ways.items()
    }
    times = time_interleaved(calls, rounds, warmup, device)
    expected = np.array(losses[RELEASED])
    found: dict[str, Any] = {
        "timings": {"training step": summarize(times, (RELEASED,))},
        "checks": {
            "losses": losses,
            "largest relative difference of losses from the released way": {
                name: float(np.max(np.abs(np.array(losses[name]) - expected) / expected))
                for name in variants
            },
        },
    }
    if memory_steps:
        peaks = {
            name: in_fresh_process(_peak_of_training, setup, training, variant, memory_steps)
            for name, variant in ways.items()
        }
        found["tables"] = {PEAK_TABLE: peaks}
    return found


def of_training(setup: Setup, training: Training) -> Setup:
    """The setup with the backbone that is trained, without stochastic depth.

    Stochastic depth draws differently in one pass and in three, so losses could not be compared.
    """
    network = {**setup.network, "backbone": training.backbone, "drop_path_rate": 0.0}
    return replace(setup, network=network, weights=None)


def draw_samples(setup: Setup, batch_size: int) -> Samples:
    """Samples of consecutive generated frames: memory, current, neighbor."""
    size = (setup.frame_height, setup.frame_width)
    side = setup.image_size
    clip = list(draw_clip(setup.seed, 1, 1, batch_size + 2, *size))
    images = torch.stack([to_tensor(resize_frame(frame, side)) for frame, _ in clip])
    masks = torch.stack(
        [torch.from_numpy(resize_mask((mask > 127).astype(np.uint8), side)) for _, mask in clip]
    )
    masks = masks.float().unsqueeze(1)
    b = batch_size
    parts = (images[:b], images[1 : b + 1], images[2:], masks[:b], masks[1 : b + 1])
    return Samples(*(part.to(setup.device) for part in parts))


def make_step(
    setup: Setup, training: Training, variant: TrainingVariant | None, samples: Samples
) -> Callable[[], float]:
    """A training step with a network of its own; None is the released way. It returns the loss."""
    network = setup.build_network().train()
    if variant is None:
        forward = _released_forward(network, samples)
    else:
        forward = _our_forward(network, training, variant, samples)
    optimizer = torch.optim.Adam(network.parameters(), lr=training.lr)

    def step() -> float:
        optimizer.zero_grad()
        loss = forward()
        loss.backward()
        torch.nn.utils.clip_grad_value_(network.parameters(), training.clip_value)
        optimizer.step()
        return loss.item()

    return step


def _released_forward(network: SALI, samples: Samples) -> Callable[[], Tensor]:
    s = samples

    def forward() -> Tensor:
        heads = training_heads(network, s.current, s.memory, s.memory_mask, s.neighbor)
        return training_loss(heads, s.mask)

    return forward


def _our_forward(
    network: SALI, training: Training, variant: TrainingVariant, samples: Samples
) -> Callable[[], Tensor]:
    s = samples
    if variant.channels_last:
        network.to(memory_format=torch.channels_last)
    loss = StructureLoss(training.bce)
    device = s.current.device

    def forward() -> Tensor:
        with autocast(device, variant.precision):
            logits = network(
                s.current,
                s.memory,
                s.memory_mask,
                s.neighbor,
                context_gradient=variant.context_gradient,
            )
            return loss(logits.upsampled((s.mask.shape[2], s.mask.shape[3])), s.mask)

    return forward


def _peak_of_training(
    setup: Setup, training: Training, variant: TrainingVariant | None, steps: int
) -> dict[str, float]:
    """Memory of a fresh process that trains in one way: before its first step, and at most."""
    device = setup.start()
    step = make_step(setup, training, variant, draw_samples(setup, training.batch_size))
    return peak_of(step, steps, device)
