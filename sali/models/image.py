"""Any network of single images as a video segmenter."""

from typing import Any

from torch import Tensor, nn

from sali.models.contract import (
    ClipBatch,
    Features,
    VideoSegmenter,
    VideoState,
    frames_by_role,
    unknown_settings,
)
from sali.models.weights import load_pretrained


class ImageState(VideoState):
    """Remembers nothing: every frame is segmented by itself."""

    def step(self, features: Features) -> Tensor:
        return features[-1]


class ImageSegmenter(VideoSegmenter):
    """A network of single images, frame by frame.

    Args:
        net: From images [B, 3, H, W] to logits [B, 1, h, w], or to a list of them with the
            prediction last; all are supervised.
        multiple: Image sides must be multiples of this, in pixels.
        pretrained: Dotted name of the part of `net` that starts from other weights and has a
            learning rate of its own, e.g. `encoder.model`; None if there is none.
        name: Name of the timm model that this part is.
        weights: Where its weights come from, see `sali.models.weights.load_pretrained`.

    Raises:
        ValueError: `net` has no part of that name.
    """

    def __init__(
        self,
        net: nn.Module,
        multiple: int = 32,
        pretrained: str | None = None,
        name: str | None = None,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.multiple = multiple
        self._part = pretrained
        self._source = name, weights
        try:
            net.get_submodule(pretrained or "")
        except AttributeError as error:
            parts = ", ".join(child for child, _ in net.named_children())
            raise ValueError(
                f"pretrained: got {pretrained!r}, wanted a part of {type(net).__name__}; it has "
                f"{parts}"
            ) from error

    @property
    def pretrained(self) -> nn.Module | None:
        return None if self._part is None else self.net.get_submodule(self._part)

    def check_image_size(self, side: int) -> None:
        if side < self.multiple or side % self.multiple:
            lower = max(self.multiple, side // self.multiple * self.multiple)
            raise ValueError(
                f"image size {side} does not fit the network; it needs a multiple of "
                f"{self.multiple}, e.g. {lower} or {lower + self.multiple}"
            )

    def load_pretrained(self) -> bool:
        name, weights = self._source
        part = self.pretrained
        if not (part and name and weights):
            return False
        load_pretrained(part, name, weights)
        return True

    def forward(self, sample: ClipBatch) -> list[Tensor]:
        return self._logits(frames_by_role(self, sample)["current"][0])

    def encode(self, images: Tensor) -> Features:
        """Return the logits themselves: nothing is left to do for single frames."""
        return self._logits(images)[-1:]

    def start(self, **settings: Any) -> ImageState:
        if problem := unknown_settings(list(settings), self):
            raise ValueError(problem)
        return ImageState()

    def _logits(self, images: Tensor) -> list[Tensor]:
        logits = self.net(images)
        logits = list(logits) if isinstance(logits, list | tuple) else [logits]
        batch = images.shape[0]  # `len` would fix it in an export
        for one in logits:
            if not isinstance(one, Tensor) or one.ndim != 4 or one.shape[:2] != (batch, 1):
                got = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
                raise ValueError(
                    f"{type(self.net).__name__}: got output {got}, wanted logits "
                    f"[{batch}, 1, h, w] or a list of them"
                )
        return logits
