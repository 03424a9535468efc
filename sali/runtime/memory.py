"""The memory bank of one video in NumPy, with the rules of `sali.models.sali.bank`."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sali.errors import ConfigError

INITIAL_LIFE = np.float32(1e-7)
FAR = 1e4
"""Every coordinate of a key that no query is near to; reads pass over its element."""


@dataclass
class Level:
    """Elements of one pyramid level; all arrays have one row per element.

    Attributes:
        key: Keys [N, Ck].
        value: Values [N, Cv].
        usage: Softmax weight that an element received in all reads, [N].
        life: Number of reads that it was present at, [N].
        frame: Number of the frame that it came from, int [N].
        position: Where on that frame's grid it was, row by row, int [N].
    """

    key: np.ndarray
    value: np.ndarray
    usage: np.ndarray
    life: np.ndarray
    frame: np.ndarray
    position: np.ndarray

    @property
    def size(self) -> int:
        return len(self.value)

    def keep(self, mask: np.ndarray) -> "Level":
        """Return the elements of a boolean mask [N]."""
        return Level(**{name: x[mask] for name, x in vars(self).items()})

    def append(self, new: "Level") -> "Level":
        """Return these elements and then the new ones."""
        names = [field.name for field in fields(self)]
        return Level(**{n: np.concatenate([getattr(self, n), getattr(new, n)]) for n in names})


Eviction = Callable[[list[Level], list[int], int], list[Level]]


def evict_least_used(levels: list[Level], grids: list[int], max_frames: int) -> list[Level]:
    """Do as `sali.models.sali.bank.evict_least_used`."""
    kept = []
    for level, grid in zip(levels, grids, strict=True):
        excess = level.size - max_frames * grid
        if excess > 0:
            score = np.where(level.life < 1, np.float32(np.inf), level.usage / level.life)
            highest = np.partition(score, excess - 1)[excess - 1]
            leaves = score < highest
            # Among equals the oldest leave.
            equals = np.flatnonzero(score == highest)
            leaves[equals[: excess - int(leaves.sum())]] = True
            level = level.keep(~leaves)
        kept.append(level)
    return kept


def evict_released(levels: list[Level], grids: list[int], max_frames: int) -> list[Level]:
    """Do as `sali.models.sali.bank.evict_released`."""
    before = levels[0].size - grids[0]
    if before // grids[0] < max_frames:
        return levels
    kept = []
    for index, level in enumerate(levels):
        remove = int(level.size - max_frames * grids[0] * 0.25**index)
        if remove > 0:
            score = level.usage / level.life
            level = level.keep(score > np.partition(score, remove - 1)[remove - 1])
        kept.append(level)
    return kept


EVICTIONS: dict[str, Eviction] = {"least_used": evict_least_used, "released": evict_released}


class MemoryBank:
    """Past elements of one video, see `sali.models.sali.bank.MemoryBank` for the settings.

    Raises:
        ConfigError: An unknown rule or a number out of range.
    """

    def __init__(self, max_frames: int, every: int, eviction: str) -> None:
        if eviction not in EVICTIONS:
            raise ConfigError(f"eviction: got {eviction!r}, wanted one of {sorted(EVICTIONS)}")
        if max_frames < 0 or every < 1:
            raise ConfigError(
                f"memory: got max_frames={max_frames} and every={every}; wanted at least 0 and at "
                "least 1"
            )
        self.max_frames, self.every = max_frames, every
        self._evict = EVICTIONS[eviction]
        self.levels: list[Level] = []
        self.grids: list[int] = []

    def elements(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return keys [N, Ck] and values [N, Cv] of every level, filled up to whole frames."""
        filled = []
        for level, grid in zip(self.levels, self.grids, strict=True):
            key, value = level.key, level.value
            if lacking := max(-level.size % grid, grid - level.size):
                key = np.pad(key, ((0, lacking), (0, 0)), constant_values=FAR)
                value = np.pad(value, ((0, lacking), (0, 0)))
            filled.append((key, value))
        return filled

    def count_usage(self, usages: list[np.ndarray]) -> None:
        """Record one read: its usage [N] per level."""
        for level, usage in zip(self.levels, usages, strict=True):
            level.usage += usage
            level.life += 1

    def wants(self, index: int) -> bool:
        """Return whether the frame of this number in its clip is due to be stored."""
        return self.max_frames > 0 and index % self.every == 0

    def add(self, frame: list[tuple[np.ndarray, np.ndarray]], index: int) -> None:
        """Store a frame's elements, then evict.

        Args:
            frame: Key [HW, Ck] and weighted value [HW, Cv] per level.
            index: Number of the frame in its clip.
        """
        new = [
            Level(
                key,
                value,
                usage=np.zeros(len(key), np.float32),
                life=np.full(len(key), INITIAL_LIFE),
                frame=np.full(len(key), index),
                position=np.arange(len(key)),
            )
            for key, value in frame
        ]
        self.grids = [level.size for level in new]
        if self.levels:
            new = [old.append(fresh) for old, fresh in zip(self.levels, new, strict=True)]
        self.levels = self._evict(new, self.grids, self.max_frames)

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that is stored, arrays and numbers."""
        levels = [{name: x.copy() for name, x in vars(level).items()} for level in self.levels]
        return {"levels": levels, "grids": list(self.grids)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Store what the bank stored whose `state` this is."""
        self.grids = list(state["grids"])
        self.levels = [
            Level(**{name: x.copy() for name, x in level.items()}) for level in state["levels"]
        ]
