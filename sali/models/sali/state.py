"""What SALI remembers of one video, and how a frame is segmented with it."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from sali.models.blocks import Pyramid
from sali.models.contract import VideoState
from sali.models.sali.attention import LevelRead, MemoryAttention
from sali.models.sali.bank import MemoryBank
from sali.models.sali.decoder import SideLogits
from sali.models.sali.memory import KeyValue, LongTermInteraction, weigh_values
from sali.models.sali.worth import confidence, scene_distance, sharpness


class FrameNetwork(Protocol):
    """What a state asks of its network, see `SALI`."""

    long_term: LongTermInteraction | None

    @property
    def uses_probability(self) -> bool: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def probability_of(self, neighbor: Pyramid) -> Tensor: ...

    def segment(
        self,
        current: Pyramid,
        neighbor: Pyramid | None = None,
        query: list[KeyValue] | None = None,
        memory: list[KeyValue] | None = None,
        probability: Tensor | None = None,
    ) -> tuple[SideLogits, list[Tensor]]: ...


class SALIState(VideoState):
    """Memory bank and neighbor of one video.

    With the previous frame as neighbor the result of a frame depends on it and on earlier frames
    only, and `step` returns it at once. With the next one (the released network) `step` returns
    the result of the frame before, None for the first, and `flush` returns the last.

    Args:
        network: Network that segments the frames.
        bank: An empty memory bank; None without a long-term memory.
        looks_ahead: Whether the neighbor is the next frame.
    """

    def __init__(self, network: FrameNetwork, bank: MemoryBank | None, looks_ahead: bool) -> None:
        self.bank = bank
        self.looks_ahead = looks_ahead
        self.num_frames = 0
        self._network = network
        self._previous: Pyramid | None = None  # neighbor of the frame to come
        self._probability: Tensor | None = None  # of that neighbor, where it is used
        self._waiting: Pyramid | None = None  # frame whose neighbor has not come yet
        self._total_sharpness = 0.0  # of all frames, where it is used

    def step(self, features: Pyramid) -> Tensor | None:
        if not self.looks_ahead:
            return self._segment(features, self._previous or features, self._probability)
        waiting, self._waiting = self._waiting, features
        return self._segment(waiting, features) if waiting else None

    def flush(self) -> Tensor | None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        return self._segment(waiting, self._previous or waiting, self._probability)

    def _segment(
        self, current: Pyramid, neighbor: Pyramid, probability: Tensor | None = None
    ) -> Tensor:
        """Segment a frame; `probability` is that of the neighbor if its result is known."""
        network, bank, index = self._network, self.bank, self.num_frames
        if bank is not None and bank.scene_cut:
            if self._previous and scene_distance(self._previous, current) >= bank.scene_cut:
                bank.clear()
                self._previous = self._probability = None
            if scene_distance(neighbor, current) >= bank.scene_cut:
                neighbor, probability = self._previous or current, self._probability
        query: list[KeyValue] | None = None
        memory: list[KeyValue] | None = None
        if network.long_term is not None and bank is not None:
            query = network.long_term.project(current)
            memory = bank.elements() or query
        if network.uses_probability and probability is None:
            probability = network.probability_of(neighbor)
        logits, usage = network.segment(current, neighbor, query, memory, probability)
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
            if self._is_worth_storing(current, logits.level1) and bank.wants(index):
                sides = logits.on_levels()
                if network.long_term is not None and network.long_term.mask_in_values:
                    query = network.long_term.project(current, [side.sigmoid() for side in sides])
                bank.add(weigh_values(query, sides), index)
        self.num_frames += 1
        self._previous = current
        self._probability = logits.level1.sigmoid() if network.uses_probability else None
        return logits.level1

    def _is_worth_storing(self, current: Pyramid, logits: Tensor) -> bool:
        bank = self.bank
        assert bank is not None
        if bank.min_sharpness:
            value = sharpness(current)
            self._total_sharpness += value
            if value < bank.min_sharpness * self._total_sharpness / (self.num_frames + 1):
                return False
        return not bank.min_confidence or confidence(logits) >= bank.min_confidence

    def state(self) -> dict[str, Any]:
        previous, probability = self._previous, self._probability
        return {
            "num_frames": self.num_frames,
            "previous": None if previous is None else [level.clone() for level in previous],
            "probability": None if probability is None else probability.clone(),
            "total_sharpness": self._total_sharpness,
            "bank": None if self.bank is None else self.bank.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.num_frames = state["num_frames"]
        self._total_sharpness = state.get("total_sharpness", 0.0)
        self._waiting = self.attention = None
        device = next(self._network.parameters()).device
        previous, probability = state["previous"], state.get("probability")
        self._previous = previous and [level.to(device, copy=True) for level in previous]
        self._probability = None if probability is None else probability.to(device, copy=True)
        if self.bank is not None:
            self.bank.load_state(state["bank"], device)

    def statistics(self) -> dict[str, float]:
        return {} if self.bank is None else self.bank.statistics()
