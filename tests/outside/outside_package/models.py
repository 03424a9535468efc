"""Networks that know of `sali` only its contract."""

from typing import Any

import torch
from torch import Tensor, nn

from sali.models.contract import (
    ClipBatch,
    Features,
    VideoSegmenter,
    VideoState,
    frames_by_role,
    unknown_settings,
)


class TinyNet(nn.Module):
    """A network of single images: logits on a grid of stride 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, 2, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)


class RunningMean(VideoSegmenter):
    """Decodes the running mean of a video's features, with the neighbor frame in training."""

    roles = ("current", "neighbor")

    def __init__(self, width: int, decay: float) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, width, 3, 4, padding=1)
        self.score = nn.Conv2d(width, 1, 1)
        self.decay = decay
        self.start()

    @property
    def video_settings(self) -> dict[str, Any]:
        return {"decay": self.decay}

    def forward(self, sample: ClipBatch) -> list[Tensor]:
        given = frames_by_role(self, sample)
        current, neighbor = (self.encoder(given[role][0]) for role in self.roles)
        return [self.score(self.decay * neighbor + (1 - self.decay) * current)]

    def encode(self, images: Tensor) -> Features:
        return [self.encoder(images)]

    def start(self, **settings: Any) -> "RunningMeanState":
        if problem := unknown_settings(list(settings), self):
            raise ValueError(problem)
        decay = settings.get("decay", self.decay)
        if not 0 <= decay < 1:
            raise ValueError(f"decay: got {decay}, wanted 0 to 1")
        return RunningMeanState(self, decay)


class RunningMeanState(VideoState):
    """The mean of one video's features."""

    def __init__(self, network: RunningMean, decay: float) -> None:
        self.network = network
        self.decay = decay
        self.mean: Tensor | None = None

    def step(self, features: Features) -> Tensor:
        (new,) = features
        mean = new if self.mean is None else self.decay * self.mean + (1 - self.decay) * new
        self.mean = mean
        return self.network.score(mean)

    def state(self) -> dict[str, Any]:
        return {"mean": None if self.mean is None else self.mean.clone()}

    def load_state(self, state: dict[str, Any]) -> None:
        device = next(self.network.parameters()).device
        mean = state["mean"]
        self.mean = None if mean is None else mean.to(device)

    def statistics(self) -> dict[str, float]:
        level = 0.0 if self.mean is None else float(torch.linalg.vector_norm(self.mean))
        return {"mean_norm": level}
