"""The memory bank of one video: keys and values of past frames on every pyramid level."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sali.models.sali.memory import KeyValue

INITIAL_LIFE = 1e-7


@dataclass
class Level:
    """Elements of one pyramid level, all in float32.

    Attributes:
        key: Keys [Ck, N].
        value: Values [N, Cv], one row per element, as reading needs them.
        usage: Softmax weight that an element received in all reads, [N].
        life: Number of reads that it was present at, [N].
        frame: Number of the frame that it came from, int [N].
        position: Where on that frame's grid it was, row by row, int [N].
    """

    key: Tensor
    value: Tensor
    usage: Tensor
    life: Tensor
    frame: Tensor
    position: Tensor

    @property
    def size(self) -> int:
        return len(self.value)

    def keep(self, mask: Tensor) -> "Level":
        """Return the elements of a boolean mask [N]."""
        index = mask.nonzero()[:, 0]
        fields = vars(self).items()
        return Level(**{name: x.index_select(_elements_axis(name), index) for name, x in fields})

    def append(self, new: "Level") -> "Level":
        """Return these elements and then the new ones."""
        pairs = [(name, x, getattr(new, name)) for name, x in vars(self).items()]
        return Level(**{name: torch.cat([x, y], _elements_axis(name)) for name, x, y in pairs})


def _elements_axis(field: str) -> int:
    """Return the axis of the elements: the last one, except of the values."""
    return 0 if field == "value" else -1


Eviction = Callable[[list[Level], list[int], int], list[Level]]
"""(levels with the new frame added, grid sizes HW, cap in frames) -> levels that stay."""


def evict_least_used(levels: list[Level], grids: list[int], max_frames: int) -> list[Level]:
    """Remove the lowest usage per read, level by level, until the cap is met exactly.

    Elements that were not read yet cannot be judged: they stay.
    """
    kept = []
    for level, grid in zip(levels, grids, strict=True):
        excess = level.size - max_frames * grid
        if excess > 0:
            score = level.usage / level.life
            score = score.masked_fill(level.life < 1, torch.inf)
            highest = score.kthvalue(excess).values
            leaves = score < highest
            # Among equals the oldest leave.
            equals = (score == highest).nonzero()[:, 0]
            leaves[equals[: excess - int(leaves.sum())]] = True
            level = level.keep(~leaves)
        kept.append(level)
    return kept


def evict_released(levels: list[Level], grids: list[int], max_frames: int) -> list[Level]:
    """Apply the released rule, with what follows from it (spec/network.md 4).

    It applies once the first level held `max_frames` whole frames before the addition. Usage per
    read of a new element is zero, so the frame just added always leaves; elements that tie with the
    cut leave together. Where the released code stops with an error (levels that shrink unevenly),
    nothing is removed.
    """
    before = levels[0].size - grids[0]
    if before // grids[0] < max_frames:
        return levels
    kept = []
    for index, level in enumerate(levels):
        remove = int(level.size - max_frames * grids[0] * 0.25**index)
        if remove > 0:
            score = level.usage / level.life
            level = level.keep(score > score.sort().values[remove - 1])
        kept.append(level)
    return kept


EVICTIONS: dict[str, Eviction] = {"least_used": evict_least_used, "released": evict_released}


class MemoryBank:
    """Past elements of one video: which frames are stored, and which elements leave.

    Args:
        max_frames: Cap in whole frames, see the eviction rule for how exactly it is kept; 0 stores
            nothing.
        every: Every n-th frame is stored, from the first one on.
        eviction: Name of a rule in `EVICTIONS`.

    Raises:
        ValueError: An unknown rule or a number out of range.
    """

    def __init__(self, max_frames: int, every: int, eviction: str) -> None:
        if eviction not in EVICTIONS:
            raise ValueError(f"eviction: got {eviction!r}, wanted one of {sorted(EVICTIONS)}")
        if max_frames < 0:
            raise ValueError(f"memory.max_frames: got {max_frames}, wanted frames, at least 0")
        if every < 1:
            raise ValueError(f"memory.every: got {every}, wanted a number of frames, at least 1")
        self.max_frames = max_frames
        self.every = every
        self._evict = EVICTIONS[eviction]
        self.levels: list[Level] = []
        self.grids: list[int] = []

    @property
    def sizes(self) -> list[int]:
        """Elements per level; empty before the first frame."""
        return [level.size for level in self.levels]

    def elements(self) -> list[KeyValue]:
        """Return what is read: keys and values of every level."""
        return [KeyValue(level.key[None], level.value.T[None]) for level in self.levels]

    def count_usage(self, usages: list[Tensor]) -> None:
        """Record one read: its usage [1, N] per level."""
        for level, usage in zip(self.levels, usages, strict=True):
            level.usage += usage[0]
            level.life += 1

    def wants(self, index: int) -> bool:
        """Return whether the frame of this number in its clip is due to be stored."""
        return self.max_frames > 0 and index % self.every == 0

    def add(self, frame: list[KeyValue], index: int) -> None:
        """Store the (weighted) elements of the frame of this number in its clip, then evict."""
        new = []
        for key, value in frame:
            count = key.shape[2]
            new.append(
                Level(
                    key[0].float(),
                    value[0].T.float().contiguous(),
                    usage=key.new_zeros(count, dtype=torch.float32),
                    life=key.new_full((count,), INITIAL_LIFE, dtype=torch.float32),
                    frame=torch.full((count,), index, device=key.device),
                    position=torch.arange(count, device=key.device),
                )
            )
        self.grids = [level.size for level in new]
        if self.levels:
            new = [old.append(fresh) for old, fresh in zip(self.levels, new, strict=True)]
        self.levels = self._evict(new, self.grids, self.max_frames)

    def statistics(self) -> dict[str, float]:
        """Return numbers on what is stored.

        `memory_frames` counts the finest level in whole frames, `memory_fill` over the cap;
        `memory_usage_per_read` is the softmax weight that an element received per read, mean over
        the elements of all levels; `memory_unread_share` are those that no query ever read.
        """
        frames = self.levels[0].size / self.grids[0] if self.levels else 0.0
        total = max(1, sum(self.sizes))
        usage = sum(float((level.usage / level.life.clamp_min(1)).sum()) for level in self.levels)
        unread = sum(int((level.usage == 0).sum()) for level in self.levels)
        return {
            "memory_frames": frames,
            "memory_fill": frames / max(1, self.max_frames),
            "memory_usage_per_read": usage / total,
            "memory_unread_share": unread / total,
        }

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that is stored, plain tensors and numbers."""
        levels = [
            {name: tensor.clone() for name, tensor in vars(level).items()} for level in self.levels
        ]
        return {"levels": levels, "grids": list(self.grids)}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Store, on `device`, what the bank stored whose `state` this is."""
        self.grids = list(state["grids"])
        self.levels = [
            Level(**{name: tensor.to(device, copy=True) for name, tensor in level.items()})
            for level in state["levels"]
        ]
