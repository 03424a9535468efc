"""Segment a video frame by frame, as it arrives."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sali.data.frames import resize_frame
from sali.data.tensors import to_tensor
from sali.models.blocks import Pyramid, resize
from sali.models.sali.bank import MemoryBank
from sali.models.sali.memory import KeyValue, weigh_values
from sali.models.sali.network import SALI, check_side
from sali.streaming.memory_use import LevelUse
from sali.streaming.precision import PRECISIONS

NEIGHBORS = ("previous", "next")


@dataclass
class _Encoded:
    """A frame that went through the backbone, and what is needed to finish it."""

    pyramid: Pyramid
    input_size: tuple[int, int]
    output_size: tuple[int, int]


class StreamSegmenter:
    """Probability of polyp for every pixel of every frame of one video.

    Owns everything that is remembered of the video: the memory bank and the neighbor's features.
    Each frame is encoded once. Use one segmenter per stream, or ``reset`` between videos.

    With ``neighbor="previous"`` the result of a frame depends on it and on earlier frames only, and
    ``step`` returns it at once. With ``neighbor="next"`` (the released network) ``step`` returns
    the result of the frame before, or None for the first, and ``flush`` returns the last.

    Args:
        network: in evaluation mode, on its device.
        image_size: side in pixels of the square that the network sees.
        max_frames: memory cap in frames.
        every: every n-th frame is stored, the first one always.
        eviction: rule by which elements leave, see ``sali.models.sali.bank``.
        neighbor: "previous" or "next".
        precision: "32", "bf16" or "16" (autocast).

    Raises:
        ValueError: a setting that does not exist or an image size that the network cannot take.
    """

    def __init__(
        self,
        network: SALI,
        image_size: int,
        max_frames: int,
        every: int,
        eviction: str,
        neighbor: str,
        precision: str = "32",
    ) -> None:
        check_side(image_size)
        if neighbor not in NEIGHBORS:
            raise ValueError(f"neighbor {neighbor!r} is not one of {NEIGHBORS}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is not one of {tuple(PRECISIONS)}")
        if every < 1:
            raise ValueError(f"memory.every is {every}; it counts frames, so at least 1")
        self.network = network
        self.image_size = image_size
        self.max_frames = max_frames
        self.every = every
        self.looks_ahead = neighbor == "next" and network.short_term is not None
        self._dtype = PRECISIONS[precision]
        self._new_bank = lambda: MemoryBank(max_frames, eviction)
        self.reset()

    def reset(self) -> None:
        """Forget the video: the next frame is the first of a new one."""
        self.bank = self._new_bank()
        self.num_frames = 0
        self._previous: Pyramid | None = None  # neighbor of the frame to come
        self._waiting: _Encoded | None = None  # frame whose neighbor has not come yet
        self.memory_use: list[LevelUse] = []
        """What the last result read of the memory, per level; empty where it read none."""

    def state(self) -> dict[str, Any]:
        """A copy of what is remembered of the video, plain tensors and numbers.

        A frame whose result has not come yet is not in it: after ``load_state`` give that one
        again.
        """
        previous = self._previous
        return {
            "num_frames": self.num_frames,
            "previous": None if previous is None else [level.clone() for level in previous],
            "bank": self.bank.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on as the segmenter of the same network and settings would whose ``state`` it is."""
        self.reset()
        self.num_frames = state["num_frames"]
        if state["previous"] is not None:
            self._previous = [level.to(self.device, copy=True) for level in state["previous"]]
        self.bank.load_state(state["bank"], self.device)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def step(self, frame: np.ndarray) -> np.ndarray | None:
        """Take one frame, return the probability map of a frame.

        Args:
            frame: RGB uint8 [H, W, 3] of any size.

        Returns:
            float32 [H, W] in 0..1 at the frame's own size; see the class for which frame's.

        Raises:
            ValueError: not such an array.
        """
        return step_streams([self], [frame])[0]

    def flush(self) -> np.ndarray | None:
        """The last frame's map, if it is still waiting for a neighbor; ends the video."""
        return _as_array(self.flush_tensor())

    def step_tensor(self, image: Tensor, output_size: tuple[int, int]) -> Tensor | None:
        """``step`` for a normalised image [3, S, S] and the size (H, W) of the map wanted."""
        return step_tensors([self], [image], [output_size])[0]

    @torch.inference_mode()
    def flush_tensor(self) -> Tensor | None:
        """``flush`` as a tensor."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        with self._autocast():
            return self._finish(waiting, self._previous or waiting.pyramid)

    def _autocast(self) -> AbstractContextManager[None]:
        if self._dtype is None:  # leaves an autocast of the caller's in force
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._dtype)

    def _take(self, arrived: _Encoded) -> Tensor | None:
        if not self.looks_ahead:
            return self._finish(arrived, self._previous or arrived.pyramid)
        waiting, self._waiting = self._waiting, arrived
        return self._finish(waiting, arrived.pyramid) if waiting else None

    def _finish(self, frame: _Encoded, neighbor: Pyramid) -> Tensor:
        network, index = self.network, self.num_frames
        query: list[KeyValue] | None = None
        memory: list[KeyValue] | None = None
        if network.long_term is not None:
            query = network.long_term.project(frame.pyramid)
            memory = self.bank.elements() or query
        logits, usage = network.segment(frame.pyramid, neighbor, query, memory)
        if query is not None:
            self.memory_use = [
                LevelUse(level.frame, level.position, used[0], (x.shape[2], x.shape[3]))
                for level, used, x in zip(self.bank.levels, usage, frame.pyramid, strict=False)
            ]
            if self.bank.levels:
                self.bank.count_usage(usage)
            if index % self.every == 0:
                self.bank.add(weigh_values(query, logits.on_levels()), index)
        self.num_frames += 1
        self._previous = frame.pyramid
        prediction = resize(logits.level1.float(), size=frame.input_size)
        return resize(prediction, size=frame.output_size).sigmoid()[0, 0]


def step_streams(
    segmenters: Sequence[StreamSegmenter], frames: Sequence[np.ndarray]
) -> list[np.ndarray | None]:
    """One step of several streams at once; their frames go through the backbone as one batch.

    Args:
        segmenters: of one network and one image size, one per stream.
        frames: one for each, see ``StreamSegmenter.step``.

    Returns:
        What ``step`` returns, for each.

    Raises:
        ValueError: see ``StreamSegmenter.step`` and ``step_tensors``.
    """
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is {frame.dtype} {frame.shape}; wanted RGB uint8 [H, W, 3]")
    images = [
        to_tensor(resize_frame(frame, segmenter.image_size))
        for segmenter, frame in zip(segmenters, frames, strict=True)
    ]
    sizes = [(frame.shape[0], frame.shape[1]) for frame in frames]
    return [_as_array(result) for result in step_tensors(segmenters, images, sizes)]


@torch.inference_mode()
def step_tensors(
    segmenters: Sequence[StreamSegmenter],
    images: Sequence[Tensor],
    output_sizes: Sequence[tuple[int, int]],
) -> list[Tensor | None]:
    """``step_streams`` for normalised images [3, S, S] and the sizes (H, W) of the maps wanted.

    Raises:
        ValueError: streams of different networks or precisions, or one stream twice.
    """
    first = segmenters[0]
    if any(s.network is not first.network or s._dtype != first._dtype for s in segmenters):
        raise ValueError("streams that step together share one network and one precision")
    if len(set(map(id, segmenters))) < len(segmenters):
        raise ValueError("a stream takes one frame at a time, so it cannot be named twice")
    batch = torch.stack(list(images)).to(first.device)
    results = []
    with first._autocast():
        pyramid = first.network.encode(batch.contiguous(memory_format=torch.channels_last))
        for i, (segmenter, size) in enumerate(zip(segmenters, output_sizes, strict=True)):
            own = [level[i : i + 1] for level in pyramid]
            results.append(segmenter._take(_Encoded(own, (batch.shape[2], batch.shape[3]), size)))
    return results


def _as_array(probability: Tensor | None) -> np.ndarray | None:
    return None if probability is None else probability.cpu().numpy()
