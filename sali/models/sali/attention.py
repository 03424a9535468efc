"""Which past frames a result read, and where in them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sali.models.blocks import resize


class LevelRead(NamedTuple):
    """One read of the memory on one pyramid level.

    Attributes:
        frame: Number of the frame that an element came from, int [N].
        position: Where on that frame's grid it was, row by row, int [N].
        usage: Softmax weight that it received, summed over the grid's H * W queries, float [N].
        grid: (H, W) of the level.
    """

    frame: Tensor
    position: Tensor
    usage: Tensor
    grid: tuple[int, int]


class MemoryAttention:
    """A read of the memory on all levels.

    Args:
        levels: Reads by level, fine to coarse; not empty.
    """

    def __init__(self, levels: Sequence[LevelRead]) -> None:
        self.levels = list(levels)

    @property
    def whole_frames(self) -> float:
        finest = self.levels[0]
        return len(finest.frame) / (finest.grid[0] * finest.grid[1])

    def by_frame(self) -> dict[int, np.ndarray]:
        """Return {number of the frame: share [H, W] on the finest grid}, in the frames' order.

        A share is the mean over the levels; all shares of all frames sum to 1.
        """
        numbers = sorted(set(torch.cat([level.frame for level in self.levels]).tolist()))
        row_of = torch.full((numbers[-1] + 1,), -1)
        row_of[numbers] = torch.arange(len(numbers))
        height, width = self.levels[0].grid
        total = torch.zeros(len(numbers), height, width)
        for level in self.levels:
            h, w = level.grid
            share = torch.zeros(len(numbers), h * w)
            cell = row_of[level.frame.cpu()] * h * w + level.position.cpu()
            share.view(-1).index_add_(0, cell, level.usage.float().cpu() / (h * w))
            # Every element of a coarse grid is spread over the fine cells that it covers.
            fine = resize(share.view(-1, 1, h, w), size=(height, width))[:, 0]
            spread = fine.sum((1, 2), keepdim=True)
            amount = share.sum(1).view(-1, 1, 1)
            part = torch.where(spread > 0, fine * amount / spread.clamp_min(1e-12), 0)
            total += part / len(self.levels)
        return dict(zip(numbers, total.numpy(), strict=True))
