"""Segment a video frame by frame, as it arrives."""

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sali.data.frames import resize_frame
from sali.data.samples import to_tensor
from sali.models.blocks import resize
from sali.models.contract import Attention, Features, VideoSegmenter
from sali.streaming.prepare import PRECISIONS

MAPS = ("probability", "minmax")
"""Rules of the 8-bit maps that are written and scored, see `normalize_map`."""


class StreamSegmenter:
    """Probability of polyp for every pixel of every frame of one video.

    Owns everything that is remembered of the video. Each frame is encoded once. Use one segmenter
    per stream, or `reset` between videos.

    A causal network returns the result of a frame at once. One that looks ahead, as the released
    SALI does, returns that of an earlier frame, or None, and `flush` returns the last.

    Args:
        network: Network in evaluation mode, on its device.
        image_size: Side in pixels of the square that the network sees.
        precision: "32", "bf16" or "16" (autocast).
        smoothing: Share of the past in an exponential average of the probabilities over time,
            smoothing * average + (1 - smoothing) * probability; 0 leaves every result as it is.
        settings: Changes of the network's `video_settings`, e.g. `max_frames` of SALI's memory.

    Raises:
        ValueError: A setting that does not exist or an image size that the network cannot take.
    """

    def __init__(
        self,
        network: VideoSegmenter,
        image_size: int,
        precision: str = "32",
        smoothing: float = 0,
        **settings: Any,
    ) -> None:
        network.check_image_size(image_size)
        if precision not in PRECISIONS:
            raise ValueError(f"precision: got {precision!r}, wanted one of {tuple(PRECISIONS)}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing: got {smoothing}, wanted a share of 0 or more, below 1")
        self.network = network
        self.image_size = image_size
        self.precision = precision
        self.smoothing = smoothing
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the video: the next frame is the first of a new one."""
        self.video = self.network.start(**self._settings)
        self._sizes: deque[tuple[int, int]] = deque()  # of the frames without a result yet
        self._average: Tensor | None = None  # of the probabilities [1, 1, S, S], if smoothed

    @property
    def attention(self) -> Attention | None:
        """What the last result read of the past; None where nothing was read."""
        return self.video.attention

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def state(self) -> dict[str, Any]:
        """Return a copy of what is remembered of the video, plain tensors and numbers.

        A frame whose result has not come yet is not in it: it is given again after `load_state`.
        """
        average = None if self._average is None else self._average.clone()
        return {"video": self.video.state(), "average": average}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from the `state` of a segmenter of the same network and settings."""
        self.reset()
        self.video.load_state(state["video"])
        if state["average"] is not None:
            self._average = state["average"].to(self.device, copy=True)

    def step(self, frame: np.ndarray) -> np.ndarray | None:
        """Take one frame, RGB uint8 [H, W, 3] of any size; return the probability map of a frame.

        The map is float32 [H, W] in 0..1 at the frame's own size; see the class for which frame's.

        Raises:
            ValueError: Not such an array.
        """
        return step_streams([self], [frame])[0]

    def flush(self) -> np.ndarray | None:
        """Return the last frame's map, if it still waits for a later frame; ends the video."""
        return _as_array(self.flush_tensor())

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Features:
        """Return the features of normalised images [B, 3, S, S], of one or of several streams."""
        batch = images.to(self.device).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            return self.network.encode(batch)

    @torch.inference_mode()
    def take(self, features: Features, output_size: tuple[int, int]) -> Tensor | None:
        """Take the features [1, ...] of the next frame, and the size (H, W) of its map."""
        self._sizes.append(output_size)
        with self._autocast():
            return self._finished(self.video.step(features))

    @torch.inference_mode()
    def flush_tensor(self) -> Tensor | None:
        """Return the result of `flush` as a tensor."""
        if not self._sizes:
            return None
        with self._autocast():
            return self._finished(self.video.flush())

    def _autocast(self) -> AbstractContextManager[None]:
        dtype = PRECISIONS[self.precision]
        if dtype is None:  # leaves an autocast of the caller's in force
            return nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def _finished(self, logits: Tensor | None) -> Tensor | None:
        if logits is None:
            return None
        # Two steps, as the released network is evaluated: to its input's size, then to the frame's.
        side = self.image_size
        prediction = resize(logits.float(), size=(side, side))
        size = self._sizes.popleft()
        if not self.smoothing:
            return resize(prediction, size=size).sigmoid()[0, 0]
        probability = prediction.sigmoid()
        if self._average is not None:
            probability = torch.lerp(probability, self._average, self.smoothing)
        self._average = probability
        return resize(probability, size=size)[0, 0]


def step_streams(
    segmenters: Sequence[StreamSegmenter], frames: Sequence[np.ndarray]
) -> list[np.ndarray | None]:
    """Advance several streams by one frame each; their frames are encoded as one batch.

    The segmenters, one per stream, have one network and one image size; see
    `StreamSegmenter.step` for frames and results.
    """
    for frame in frames:
        is_array = isinstance(frame, np.ndarray)
        what = f"{frame.dtype} {frame.shape}" if is_array else type(frame).__name__
        is_rgb = is_array and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
        if not is_rgb or not frame.size:
            raise ValueError(f"frame: got {what}, wanted RGB uint8 [H, W, 3] as a NumPy array")
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
    """Do as `step_streams` for normalised images [3, S, S] and the sizes (H, W) of their maps.

    Raises:
        ValueError: Streams of different networks or precisions, or one stream twice.
    """
    first = segmenters[0]
    if any(s.network is not first.network or s.precision != first.precision for s in segmenters):
        raise ValueError("streams that step together share one network and one precision")
    if len(set(map(id, segmenters))) < len(segmenters):
        raise ValueError("a stream takes one frame at a time, so it cannot be named twice")
    features = first.encode(torch.stack(list(images)))
    return [
        segmenter.take([level[i : i + 1] for level in features], size)
        for i, (segmenter, size) in enumerate(zip(segmenters, output_sizes, strict=True))
    ]


def _as_array(probability: Tensor | None) -> np.ndarray | None:
    return None if probability is None else probability.cpu().numpy()


def normalize_map(probability: Tensor, rule: str) -> Tensor:
    """Return what a map [H, W] shows, as floats of 0..1.

    The rule "probability" leaves it alone. "minmax" stretches the frame's own range to 0..1, as
    released: every frame then has a pixel of 1, polyp or not. A constant frame is left.
    """
    if rule == "probability":
        return probability
    if rule != "minmax":
        raise ValueError(f"maps {rule!r} is not one of {MAPS}")
    low, high = probability.aminmax()
    span = high - low
    return torch.where(span > 0, (probability - low) / span.clamp_min(1e-12), probability)


def to_map(probability: Tensor, rule: str) -> Tensor:
    """Return the uint8 map [H, W]; "minmax" truncates as released, "probability" rounds."""
    scaled = normalize_map(probability, rule) * 255
    return (scaled if rule == "minmax" else scaled.round()).to(torch.uint8)
