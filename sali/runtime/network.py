"""A bundle as a network, so that prediction and the app take it like a checkpoint."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sali.errors import ConfigError
from sali.models.checkpoint import load_network as load_checkpoint
from sali.models.contract import ClipBatch, Features, VideoSegmenter, VideoState
from sali.models.sali.state import LevelRead, MemoryAttention
from sali.runtime.bundle import Bundle, find_bundle
from sali.runtime.states import Read, State


class BundleState(VideoState):
    """The state of an exported network, in tensors."""

    def __init__(self, video: State) -> None:
        self._video = video

    def step(self, features: Features) -> Tensor | None:
        return self._taken(self._video.step([x.numpy() for x in features]))

    def flush(self) -> Tensor | None:
        return self._taken(self._video.flush())

    def state(self) -> dict[str, Any]:
        return _converted(self._video.state(), np.ndarray, torch.from_numpy)

    def load_state(self, state: dict[str, Any]) -> None:
        self._video.load_state(_converted(state, Tensor, Tensor.numpy))

    def _taken(self, logits: np.ndarray | None) -> Tensor | None:
        reads = self._video.reads
        self.attention = None if reads is None else MemoryAttention(list(map(_level, reads)))
        return None if logits is None else torch.from_numpy(logits)


class BundleNetwork(VideoSegmenter):
    """An exported network; it computes on the processor and cannot be trained."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.bundle = bundle
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # says the device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Stay on the processor, whatever device or number format is asked for."""
        return self

    @property
    def video_settings(self) -> dict[str, Any]:
        return self.bundle.video_settings

    def check_image_size(self, side: int) -> None:
        if side != self.bundle.image_size:
            raise ValueError(
                f"image size {side} does not fit the bundle, which was exported for "
                f"{self.bundle.image_size}; export with data.image_size={side}"
            )

    def forward(self, sample: ClipBatch) -> list[Tensor]:
        raise ConfigError("a bundle cannot be trained; give its checkpoint")

    def encode(self, images: Tensor) -> Features:
        return [torch.from_numpy(x) for x in self.bundle.encode(images.contiguous().numpy())]

    def start(self, **settings: Any) -> BundleState:
        return BundleState(self.bundle.start(**settings))


def load_network(path: Path, trust: Collection[str] = ()) -> tuple[VideoSegmenter, dict[str, Any]]:
    """Return the network of a checkpoint or bundle, and the settings of its training.

    Args:
        path: A checkpoint, or the `bundle.json` of a bundle.
        trust: See `sali.models.checkpoint.Checkpoint.network`.

    Raises:
        UserError: A file that cannot be used.
    """
    found = find_bundle(path)
    if found is None:
        return load_checkpoint(path, trust=trust)
    bundle = Bundle(found, torch.get_num_threads())
    settings = bundle.settings
    streaming = {name: settings[name] for name in ("image_size", "smoothing")}
    return BundleNetwork(bundle).eval(), {**settings, "streaming": streaming}


def _level(read: Read) -> LevelRead:
    frame, position, usage = map(torch.from_numpy, read[:3])
    return LevelRead(frame, position, usage, read.grid)


def _converted(node: Any, kind: type, convert: Callable[[Any], Any]) -> Any:
    """Return nested dictionaries and lists with every value of a kind converted."""
    if isinstance(node, dict):
        return {name: _converted(value, kind, convert) for name, value in node.items()}
    if isinstance(node, list):
        return [_converted(value, kind, convert) for value in node]
    return convert(node) if isinstance(node, kind) else node
