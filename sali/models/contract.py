"""What training, streaming, prediction, the web app and checkpoints know of a network."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

Features = list[Tensor]
"""What `encode` makes of images: tensors [B, ...], whose first axis counts the images."""


class ClipBatch(NamedTuple):
    """Frames of one training sample, or with a leading B of a batch.

    Attributes:
        frames: Normalised images [(B,) T, 3, S, S]; T counts the network's `roles`, in their order.
        masks: Masks of 0/1, float [(B,) T, 1, S, S].
    """

    frames: Tensor
    masks: Tensor


class Attention(Protocol):
    """What one result read of the past, for viewers."""

    def by_frame(self) -> dict[int, np.ndarray]:
        """Return {number of a past frame: share [h, w] on its grid}; all shares sum to 1."""

    @property
    def whole_frames(self) -> float:
        """How much was there to read, in whole frames."""


class VideoState(ABC):
    """All that is remembered of ONE video: make one per video with `VideoSegmenter.start`.

    Attributes:
        attention: What the last result read of the past; None where nothing was read.
    """

    attention: Attention | None = None

    @abstractmethod
    def step(self, features: Features) -> Tensor | None:
        """Take the features [1, ...] of the next frame, see `VideoSegmenter.encode`.

        Returns:
            Logits [1, 1, h, w] of the oldest frame without a result, on any grid; None while the
            network looks ahead.
        """

    def flush(self) -> Tensor | None:
        """Return the logits of the last frame if it still waits for a later one; ends the video."""
        return None

    def state(self) -> dict[str, Any]:
        """Return a copy of what is remembered, plain tensors and numbers.

        A frame whose result has not come yet is not in it: it is given again after `load_state`.
        """
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Resume from the `state` of another instance of the same network and settings."""

    def statistics(self) -> dict[str, float]:
        """Return numbers on what is remembered, for dashboards; always under the same names."""
        return {}


class VideoSegmenter(nn.Module, ABC):
    """Base class of every network: any module that can follow a video.

    It holds nothing of a video; that is in the `VideoState` that `start` returns. A network from
    outside this package is a subclass and one YAML file of the group `model`.

    Attributes:
        roles: Frames of a training sample, in order; of "memory", "current" and "neighbor".
        pretrained: Part that starts from weights made elsewhere, None if there is none. It is
            trained at a learning rate of its own.
    """

    roles: tuple[str, ...] = ("current",)

    @property
    def pretrained(self) -> nn.Module | None:
        return None

    @property
    def video_settings(self) -> dict[str, Any]:
        """Settings that `start` takes, with the values that it uses without them."""
        return {}

    def check_image_size(self, side: int) -> None:
        """Accept or refuse a side in pixels of the square images.

        Raises:
            ValueError: The network cannot take it; names what it takes.
        """

    def load_pretrained(self) -> bool:
        """Fill `pretrained` from where its configuration says; False if it names no weights.

        Raises:
            WeightsError: Weights that do not fit or are not available.
        """
        return False

    @abstractmethod
    def forward(self, sample: ClipBatch) -> list[Tensor]:
        """Return supervised logits [B, 1, h, w] of the current frames, the prediction last."""

    @abstractmethod
    def encode(self, images: Tensor) -> Features:
        """Return the features of normalised images [B, 3, S, S], of one or of many videos."""

    @abstractmethod
    def start(self, **settings: Any) -> VideoState:
        """Begin a video; the settings are changes of `video_settings`.

        Raises:
            ValueError: An unknown setting or a value that does not fit.
        """

    def merge_layers(self) -> None:
        """Merge layers that follow each other with nothing in between, in place, for inference.

        Called in evaluation mode; results stay the same up to rounding.
        """

    def compile_for_streaming(self) -> None:
        """Compile what runs for every frame with `torch.compile`, in place."""
        self.encode = torch.compile(self.encode)  # type: ignore[method-assign]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained parameters as "pretrained" and "new"; together they are all."""
        part = self.pretrained
        inside = {id(p) for p in part.parameters()} if part is not None else set()
        groups: dict[str, list[nn.Parameter]] = {"pretrained": [], "new": []}
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups["pretrained" if id(parameter) in inside else "new"].append(parameter)
        return groups


def frames_by_role(network: VideoSegmenter, sample: ClipBatch) -> dict[str, tuple[Tensor, Tensor]]:
    """Return {role: (images [B, 3, S, S], masks [B, 1, S, S])} of a batch.

    Raises:
        ValueError: The number of frames is not that of the network's roles.
    """
    if sample.frames.ndim != 5 or sample.frames.shape[1] != len(network.roles):
        raise ValueError(
            f"sample: got frames {tuple(sample.frames.shape)}, wanted [B, {len(network.roles)}, 3, "
            f"S, S] for the roles {', '.join(network.roles)}"
        )
    pairs = zip(sample.frames.unbind(1), sample.masks.unbind(1), strict=True)
    return dict(zip(network.roles, pairs, strict=True))


def unknown_settings(given: Sequence[str], network: VideoSegmenter) -> str:
    """Return the message for settings that `start` does not take; empty if it takes all."""
    unknown = sorted(set(given) - set(network.video_settings))
    known = ", ".join(network.video_settings) or "none"
    name = type(network).__name__
    return f"{name} has no setting {', '.join(unknown)}; it takes {known}" if unknown else ""
