"""Which past frames a result read, and where in them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sali.models.blocks import resize


class LevelUse(NamedTuple):
    """One read of the memory on one pyramid level."""

    frame: Tensor
    """int [N], the number of the frame that an element came from."""
    position: Tensor
    """int [N], where on that frame's grid it was, row by row."""
    usage: Tensor
    """float [N], softmax weight that it received, summed over the grid's H * W queries."""
    grid: tuple[int, int]
    """(H, W) of the level."""


def use_of_frames(levels: Sequence[LevelUse]) -> dict[int, np.ndarray]:
    """A read folded back onto the frames that it came from.

    Args:
        levels: what ``StreamSegmenter.memory_use`` holds.

    Returns:
        {number of the frame: share [H, W] on the finest grid}, in the frames' order; the mean over
        the levels. All shares of all frames sum to 1. Empty where nothing was read.
    """
    if not levels:
        return {}
    numbers = sorted(set(torch.cat([level.frame for level in levels]).tolist()))
    row_of = torch.full((numbers[-1] + 1,), -1)
    row_of[numbers] = torch.arange(len(numbers))
    height, width = levels[0].grid
    total = torch.zeros(len(numbers), height, width)
    for level in levels:
        h, w = level.grid
        share = torch.zeros(len(numbers), h * w)
        cell = row_of[level.frame.cpu()] * h * w + level.position.cpu()
        share.view(-1).index_add_(0, cell, level.usage.float().cpu() / (h * w))
        # Every element of a coarse grid is spread over the fine cells that it covers.
        fine = resize(share.view(-1, 1, h, w), size=(height, width))[:, 0]
        spread = fine.sum((1, 2), keepdim=True)
        amount = share.sum(1).view(-1, 1, 1)
        total += torch.where(spread > 0, fine * amount / spread.clamp_min(1e-12), 0) / len(levels)
    return dict(zip(numbers, total.numpy(), strict=True))
