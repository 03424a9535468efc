"""What is remembered of one video, in NumPy; the graphs of a bundle compute the rest."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sali.errors import ConfigError
from sali.runtime.engines import Run
from sali.runtime.memory import MemoryBank

Features = list[np.ndarray]
"""Features [1, ...] of one frame."""


class Read(NamedTuple):
    """One read of the memory on one level, see `sali.models.sali.state.LevelRead`."""

    frame: np.ndarray
    position: np.ndarray
    usage: np.ndarray
    grid: tuple[int, int]


class State:
    """What is remembered of one video, see `sali.models.contract.VideoState`: nothing.

    Args:
        graphs: Graphs of the bundle by name.
        settings: Settings of the video.
        options: What `bundle.json` says of the state.

    Attributes:
        reads: What the last result read of the past, level by level; None where nothing was read.
    """

    reads: list[Read] | None = None

    def __init__(
        self, graphs: Mapping[str, Run], settings: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        self._graphs, self._options = graphs, options

    def step(self, features: Features) -> np.ndarray | None:
        """Return the logits of the next result, if it is known by now."""
        return features[-1]

    def flush(self) -> np.ndarray | None:
        """Return the logits of the last frame, if it still waits for a later one."""
        return None

    def state(self) -> dict[str, Any]:
        """Return a copy of what is remembered."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Remember what a `state` holds."""


class MemoryState(State):
    """Memory bank and neighbor of one video, as `sali.models.sali.state.SALIState` keeps them.

    Args:
        graphs: "step".
        settings: `neighbor` and the arguments of `MemoryBank`, those that the network has.
        options: {"levels": count, "reads_memory": ..., "aligns": ...}.

    Raises:
        ConfigError: A setting that does not fit.
    """

    def __init__(
        self, graphs: Mapping[str, Run], settings: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        super().__init__(graphs, settings, options)
        neighbor = settings.pop("neighbor", "previous")
        if neighbor not in ("previous", "next"):
            raise ConfigError(f"neighbor: got {neighbor!r}, wanted previous or next")
        self.looks_ahead = neighbor == "next" and options["aligns"]
        self.bank = MemoryBank(**settings) if options["reads_memory"] else None
        self.num_frames = 0
        self._levels = options["levels"]
        self._previous: Features | None = None  # neighbor of the frame to come
        self._waiting: Features | None = None  # frame whose neighbor has not come yet

    def step(self, features: Features) -> np.ndarray | None:
        if not self.looks_ahead:
            return self._segment(features, self._previous or features)
        waiting, self._waiting = self._waiting, features
        return self._segment(waiting, features) if waiting else None

    def flush(self) -> np.ndarray | None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        return self._segment(waiting, self._previous or waiting)

    def _segment(self, current: Features, neighbor: Features) -> np.ndarray:
        bank, levels = self.bank, self._levels
        pyramid, keys, values = (current[i * levels : (i + 1) * levels] for i in range(3))
        inputs = _named("pyramid", pyramid)
        if self._options["aligns"]:
            inputs |= _named("neighbor", neighbor[:levels])
        if bank is not None:
            own = [(key[0], value[0]) for key, value in zip(keys, values, strict=True)]
            memory = bank.elements() or own
            inputs |= _named("key", keys) | _named("value", values)
            inputs |= _named("memory_key", [key for key, _ in memory])
            inputs |= _named("memory_value", [value for _, value in memory])
        logits, *rest = self._graphs["step"](inputs)
        self.reads = None
        if bank is not None:
            usages, new_values = rest[:levels], rest[levels:]
            if bank.levels:
                usages = [u[: x.size] for u, x in zip(usages, bank.levels, strict=True)]
                self.reads = [
                    Read(level.frame, level.position, usage, x.shape[2:])
                    for level, usage, x in zip(bank.levels, usages, pyramid, strict=True)
                ]
                bank.count_usage(usages)
            if bank.wants(self.num_frames):
                elements = [(k[0], v) for k, v in zip(keys, new_values, strict=True)]
                bank.add(elements, self.num_frames)
        self.num_frames += 1
        self._previous = current
        return logits

    def state(self) -> dict[str, Any]:
        previous = self._previous
        return {
            "num_frames": self.num_frames,
            "previous": None if previous is None else [x.copy() for x in previous],
            "bank": None if self.bank is None else self.bank.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.num_frames = state["num_frames"]
        self._waiting = self.reads = None
        previous = state["previous"]
        self._previous = None if previous is None else [x.copy() for x in previous]
        if self.bank is not None:
            self.bank.load_state(state["bank"])


STATES = {"image": State, "memory": MemoryState}
"""Name in `bundle.json` -> what is remembered of a video."""


def _named(what: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{what}{level}": x for level, x in enumerate(arrays)}
