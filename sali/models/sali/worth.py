"""Which frames a memory is for: confident, sharp, and of the same scene."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sali.models.blocks import Pyramid

LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def confidence(logits: Tensor) -> float:
    """Return how sure a result is, 0.5..1: the mean of max(p, 1 - p) where it says polyp.

    Where it says polyp nowhere, the mean is over the whole frame.

    Args:
        logits: Logits [1, 1, h, w] of the frame.
    """
    probability = logits.float().sigmoid()
    polyp = probability[probability > 0.5]
    return float(polyp.mean() if polyp.numel() else (1 - probability).mean())


def sharpness(pyramid: Pyramid) -> float:
    """Return the variance of the Laplacian of the finest features, mean over their channels.

    A blurred frame has smooth features, a dark or covered one has flat features. The unit is that
    of the features, so it only compares frames of one video under one network.
    """
    x = pyramid[0].float()
    channels = x.shape[1]
    kernel = LAPLACIAN.to(x.device).expand(channels, 1, 3, 3)
    return float(F.conv2d(x, kernel, groups=channels).var((2, 3), correction=0).mean())


def scene_distance(one: Pyramid, other: Pyramid) -> float:
    """Return how different two frames are, 0..1: the distance of their mean features.

    It is |a - b| / (|a| + |b|) of the vectors a and b of the means over each channel and level.
    """
    a, b = (torch.cat([x.float().mean((2, 3)).flatten() for x in p]) for p in (one, other))
    return float((a - b).norm() / (a.norm() + b.norm()).clamp_min(1e-12))
