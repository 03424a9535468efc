"""What SALI remembers of one video, how a frame is segmented with it, and what it read."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sali.models.blocks import Pyramid, resize
from sali.models.contract import VideoState
from sali.models.sali.bank import MemoryBank
from sali.models.sali.decoder import SideLogits
from sali.models.sali.memory import KeyValue, weigh_values

Segment = Callable[
    [Pyramid, Pyramid, list[KeyValue] | None, list[KeyValue] | None],
    tuple[SideLogits, list[Tensor]],
]
"""`SALI.segment`."""
Project = Callable[[Pyramid], list[KeyValue]]
"""Makes keys and values of a frame."""


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


class SALIState(VideoState):
    """Memory bank and neighbor of one video.

    With the previous frame as neighbor the result of a frame depends on it and on earlier frames
    only, and `step` returns it at once. With the next one (the released network) `step` returns
    the result of the frame before, None for the first, and `flush` returns the last.

    Args:
        segment: Segments a frame, with its neighbor, keys and memory.
        project: Makes keys and values of a frame; None without a long-term memory.
        bank: An empty memory bank; None without a long-term memory.
        looks_ahead: Whether the neighbor is the next frame.
        device: Where the network is.
    """

    def __init__(
        self,
        segment: Segment,
        project: Project | None,
        bank: MemoryBank | None,
        looks_ahead: bool,
        device: torch.device,
    ) -> None:
        self.bank = bank
        self.looks_ahead = looks_ahead
        self.num_frames = 0
        self._segment, self._project, self._device = segment, project, device
        self._previous: Pyramid | None = None  # neighbor of the frame to come
        self._waiting: Pyramid | None = None  # frame whose neighbor has not come yet

    def step(self, features: Pyramid) -> Tensor | None:
        if not self.looks_ahead:
            return self._advance(features, self._previous or features)
        waiting, self._waiting = self._waiting, features
        return self._advance(waiting, features) if waiting else None

    def flush(self) -> Tensor | None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        return self._advance(waiting, self._previous or waiting)

    def _advance(self, current: Pyramid, neighbor: Pyramid) -> Tensor:
        bank = self.bank
        query: list[KeyValue] | None = None
        memory: list[KeyValue] | None = None
        if self._project is not None and bank is not None:
            query = self._project(current)
            memory = bank.elements() or query
        logits, usage = self._segment(current, neighbor, query, memory)
        self.attention = None
        if query is not None and bank is not None:
            if bank.levels:
                self.attention = MemoryAttention(
                    [
                        LevelRead(level.frame, level.position, used[0], (x.shape[2], x.shape[3]))
                        for level, used, x in zip(bank.levels, usage, current, strict=True)
                    ]
                )
                bank.count_usage(usage)
            if bank.wants(self.num_frames):
                bank.add(weigh_values(query, logits.on_levels()), self.num_frames)
        self.num_frames += 1
        self._previous = current
        return logits.level1

    def state(self) -> dict[str, Any]:
        previous = self._previous
        return {
            "num_frames": self.num_frames,
            "previous": None if previous is None else [level.clone() for level in previous],
            "bank": None if self.bank is None else self.bank.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.num_frames = state["num_frames"]
        self._waiting = self.attention = None
        previous = state["previous"]
        self._previous = previous and [level.to(self._device, copy=True) for level in previous]
        if self.bank is not None:
            self.bank.load_state(state["bank"], self._device)

    def statistics(self) -> dict[str, float]:
        return {} if self.bank is None else self.bank.statistics()
