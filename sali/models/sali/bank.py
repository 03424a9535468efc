"""The memory bank of one video: keys and values of past frames on every pyramid level."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sali.models.sali.memory import KeyValue

INITIAL_LIFE = 1e-7


@dataclass
class Level:
    """Elements of one pyramid level, all in float32.

    ``key`` [Ck, N]; ``value`` [N, Cv], one row per element, as reading wants them; ``usage`` [N] is
    the softmax weight that an element received in all reads, ``life`` [N] the number of reads it
    was present at, ``frame`` [N] the index of the frame it came from and ``position`` [N] where on
    that frame's grid, row by row.
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
        """The elements of a boolean mask [N]."""
        index = mask.nonzero()[:, 0]
        return Level(
            self.key.index_select(1, index),
            self.value.index_select(0, index),
            self.usage[index],
            self.life[index],
            self.frame[index],
            self.position[index],
        )

    def append(self, new: "Level") -> "Level":
        """These elements and then the new ones."""
        return Level(
            torch.cat([self.key, new.key], 1),
            torch.cat([self.value, new.value]),
            torch.cat([self.usage, new.usage]),
            torch.cat([self.life, new.life]),
            torch.cat([self.frame, new.frame]),
            torch.cat([self.position, new.position]),
        )


Eviction = Callable[[list[Level], list[int], int], list[Level]]
"""(levels with the new frame added, grid sizes HW, cap in frames) -> levels that stay."""


def evict_least_used(levels: list[Level], grids: list[int], max_frames: int) -> list[Level]:
    """Lowest usage per read leaves, level by level, until the cap is met exactly.

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
    """The released rule, with what follows from it.

    It applies once the first level held ``max_frames`` whole frames before the addition. Usage per
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
    """Past elements of one video; make one per stream and throw it away with the stream.

    Args:
        max_frames: cap in whole frames; see the eviction rule for how exactly it is kept.
        eviction: a key of ``EVICTIONS``.

    Raises:
        ValueError: unknown rule, or a cap below one frame.
    """

    def __init__(self, max_frames: int, eviction: str) -> None:
        if eviction not in EVICTIONS:
            raise ValueError(f"eviction {eviction!r} is not one of {sorted(EVICTIONS)}")
        if max_frames < 1:
            raise ValueError(f"max_frames is {max_frames}; a memory keeps at least one frame")
        self.max_frames = max_frames
        self._evict = EVICTIONS[eviction]
        self.levels: list[Level] = []

    @property
    def sizes(self) -> list[int]:
        """Elements per level; empty before the first frame."""
        return [level.size for level in self.levels]

    def elements(self) -> list[KeyValue]:
        """What is read: keys and values of every level."""
        return [KeyValue(level.key[None], level.value.T[None]) for level in self.levels]

    def count_usage(self, usages: list[Tensor]) -> None:
        """Record one read: its usage [1, N] per level."""
        for level, usage in zip(self.levels, usages, strict=True):
            level.usage += usage[0]
            level.life += 1

    def add(self, frame: list[KeyValue], index: int) -> None:
        """Store a frame's (weighted) elements, then evict.

        Args:
            frame: key [1, Ck, HW] and value [1, Cv, HW] per level.
            index: number of the frame in its clip.
        """
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
        grids = [level.size for level in new]
        if self.levels:
            new = [old.append(fresh) for old, fresh in zip(self.levels, new, strict=True)]
        self.levels = self._evict(new, grids, self.max_frames)

    def state(self) -> list[dict[str, Tensor]]:
        """A copy of all elements, level by level, for ``load_state``."""
        return [
            {name: tensor.clone() for name, tensor in vars(level).items()} for level in self.levels
        ]

    def load_state(self, state: list[dict[str, Tensor]], device: torch.device) -> None:
        """Hold what the bank held that ``state`` was taken of, on ``device``."""
        self.levels = [
            Level(**{name: tensor.to(device, copy=True) for name, tensor in level.items()})
            for level in state
        ]
