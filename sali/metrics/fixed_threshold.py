"""Scores of a validation during training, on the device of the network."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

NAMES = ("frame_dice_at_0.5", "frame_iou_at_0.5", "frame_mae")
THRESHOLD = 0.5
EMPTY_SCORE = 1.0


def fixed_threshold_scores(probability: Tensor, mask: Tensor) -> Tensor:
    """Return Dice and IoU of probability >= 0.5, and the mean absolute error of the probability.

    Where neither the prediction nor the mask has a pixel, Dice and IoU are 1; where only one has,
    they are 0. `sali.metrics.frame_metric` has the same scores for maps on disk.

    Args:
        probability: Probability of polyp, 0 to 1, float [H, W].
        mask: Ground truth, 0 or 1, [H, W].

    Returns:
        float64 [3] in the order of `NAMES`.
    """
    if probability.shape != mask.shape:
        raise ValueError(
            f"map: got shape {tuple(probability.shape)}, wanted {tuple(mask.shape)} as the mask"
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
    """Plain means of `fixed_threshold_scores` over all frames.

    The state is one row per clip: it does not grow with the number of frames, and processes that
    had different clips add up to the same bits as one process.

    Args:
        num_clips: Number of clips.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    full_state_update = False
    sums: Tensor
    count: Tensor

    def __init__(self, num_clips: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zeros = torch.zeros((num_clips, len(NAMES)), dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, probability: Tensor, mask: Tensor, clip: int) -> None:
        """Add one frame of clip number `clip`."""
        self.sums[clip] += fixed_threshold_scores(probability, mask)
        self.count += 1

    def compute(self) -> dict[str, float]:
        """Return the scores by the names of `NAMES`."""
        return dict(zip(NAMES, (self.sums.sum(0) / self.count).tolist(), strict=True))
