"""Probabilities as the 8-bit maps that are written and scored."""

import torch
from torch import Tensor

RULES = ("probability", "minmax")


def normalize_map(probability: Tensor, rule: str) -> Tensor:
    """Return what a map shows, as floats of 0..1.

    Args:
        probability: Probability [H, W].
        rule: "probability" leaves it alone. "minmax" stretches the frame's own range to 0..1, as
            released: every frame then has a pixel of 1, polyp or not. A constant frame is left.
    """
    if rule == "probability":
        return probability
    if rule != "minmax":
        raise ValueError(f"maps {rule!r} is not one of {RULES}")
    low, high = probability.aminmax()
    span = high - low
    return torch.where(span > 0, (probability - low) / span.clamp_min(1e-12), probability)


def to_map(probability: Tensor, rule: str) -> Tensor:
    """Return the uint8 map [H, W]; "minmax" truncates as released, "probability" rounds."""
    scaled = normalize_map(probability, rule) * 255
    return (scaled if rule == "minmax" else scaled.round()).to(torch.uint8)
