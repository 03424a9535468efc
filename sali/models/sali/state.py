"""What SALI remembers of one video, and how a frame is segmented with it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sali.models.blocks import Pyramid
from sali.models.contract import VideoState
from sali.models.sali.attention import LevelRead, MemoryAttention
from sali.models.sali.bank import MemoryBank
from sali.models.sali.decoder import SideLogits
from sali.models.sali.memory import KeyValue, weigh_values


class SALIState(VideoState):
    """Memory bank and neighbor of one video.

    With the previous frame as neighbor the result of a frame depends on it and on earlier frames
    only, and `step` returns it at once. With the next one (the released network) `step` returns
    the result of the frame before, None for the first, and `flush` returns the last.

    Args:
        segment: Method `segment` of the network.
        project: Makes keys and values of a pyramid; None without a long-term memory.
        bank: An empty memory bank; None without a long-term memory.
        looks_ahead: Whether the neighbor is the next frame.
        device: Device of the network.
    """

    def __init__(
        self,
        segment: Callable[..., tuple[SideLogits, list[Tensor]]],
        project: Callable[[Pyramid], list[KeyValue]] | None,
        bank: MemoryBank | None,
        looks_ahead: bool,
        device: torch.device,
    ) -> None:
        self.bank = bank
        self.looks_ahead = looks_ahead
        self.num_frames = 0
        self._run = segment
        self._project = project
        self._device = device
        self._previous: Pyramid | None = None  # neighbor of the frame to come
        self._waiting: Pyramid | None = None  # frame whose neighbor has not come yet

    def step(self, features: Pyramid) -> Tensor | None:
        if not self.looks_ahead:
            return self._segment(features, self._previous or features)
        waiting, self._waiting = self._waiting, features
        return self._segment(waiting, features) if waiting else None

    def flush(self) -> Tensor | None:
        waiting, self._waiting = self._waiting, None
        return self._segment(waiting, self._previous or waiting) if waiting else None

    def _segment(self, current: Pyramid, neighbor: Pyramid) -> Tensor:
        bank, index = self.bank, self.num_frames
        query: list[KeyValue] | None = None
        memory: list[KeyValue] | None = None
        if self._project is not None and bank is not None:
            query = self._project(current)
            memory = bank.elements() or query
        logits, usage = self._run(current, neighbor, query, memory)
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
            if bank.wants(index):
                bank.add(weigh_values(query, logits.on_levels()), index)
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
