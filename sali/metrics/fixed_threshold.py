"""Scores of probabilities at one fixed threshold."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

NAMES = ("dice_at_0.5", "iou_at_0.5", "mae")
THRESHOLD = 0.5
EMPTY_SCORE = 1.0


def fixed_threshold_scores(probability: Tensor, mask: Tensor) -> Tensor:
    """Dice and IoU of probability >= 0.5, and the mean absolute error of the probability.

    Where neither the prediction nor the mask has a pixel, Dice and IoU are 1; where only one has,
    they are 0.

    Args:
        probability: [H, W], 0..1.
        mask: 0/1 of the same shape.

    Returns:
        float64 [3] in the order of ``NAMES``.

    Raises:
        ValueError: shapes differ.
    """
    if probability.shape != mask.shape:
        raise ValueError(
            f"map {tuple(probability.shape)} and mask {tuple(mask.shape)} differ in shape"
        )
    predicted, truth = probability >= THRESHOLD, mask > 0
    overlap = (predicted & truth).sum(dtype=torch.float64)
    total = predicted.sum(dtype=torch.float64) + truth.sum(dtype=torch.float64)
    union = total - overlap
    empty = torch.full_like(overlap, EMPTY_SCORE)
    dice = torch.where(total > 0, 2 * overlap / total, empty)
    iou = torch.where(union > 0, overlap / union, empty)
    mae = (probability - mask.to(probability.dtype)).abs().mean(dtype=torch.float64)
    return torch.stack([dice, iou, mae])


class FixedThresholdScores(Metric):
    """Means of ``fixed_threshold_scores`` over all frames, and over the frames of each clip.

    The state is one row per clip: it does not grow with the number of frames, and processes that
    had different clips add up to the same numbers as one process.

    Args:
        clip_names: names of the clips in the order of their numbers.
    """

    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, clip_names: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clip_names = list(clip_names)
        shape = (len(clip_names), len(NAMES))
        self.add_state("sums", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(shape[0], dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probability: Tensor, mask: Tensor, clip: int) -> None:
        """Score one frame of clip number ``clip``."""
        self.sums[clip] += fixed_threshold_scores(probability, mask)
        self.counts[clip] += 1

    def compute(self) -> dict[str, dict[str, Any]]:
        """{"mean": scores over all frames, "clips": {clip: scores over its frames}}.

        A clip of which no frame was scored is left out.
        """
        mean = (self.sums.sum(0) / self.counts.sum()).tolist()
        rows = (self.sums / self.counts.unsqueeze(1)).tolist()
        clips = zip(self.clip_names, rows, self.counts.tolist(), strict=True)
        return {
            "mean": dict(zip(NAMES, mean, strict=True)),
            "clips": {clip: dict(zip(NAMES, row, strict=True)) for clip, row, n in clips if n},
        }
