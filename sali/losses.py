"""Structure loss of F3Net (Wei et al., AAAI 2020): boundary-weighted BCE and IoU."""

import torch
import torch.nn.functional as F
from torch import Tensor

BOUNDARY_WINDOW = 31
BOUNDARY_GAIN = 5
BCE_TERMS = ("weighted", "released")


def boundary_weight(mask: Tensor) -> Tensor:
    """Return the weight of every pixel of masks of 0/1, float [B, 1, H, W].

    It is 1 + 5 |mean of the mask in 31 x 31 - mask|, at most 6.
    """
    # The mean over a square is the mean over rows of the means over columns: 62 sums, not 961.
    half = BOUNDARY_WINDOW // 2
    local = F.avg_pool2d(mask, (BOUNDARY_WINDOW, 1), stride=1, padding=(half, 0))
    local = F.avg_pool2d(local, (1, BOUNDARY_WINDOW), stride=1, padding=(0, half))
    return 1 + BOUNDARY_GAIN * (local - mask).abs()


def structure_loss(logits: Tensor, mask: Tensor, weight: Tensor, bce: str) -> Tensor:
    """Return weighted IoU plus BCE, averaged over the batch, of logits [B, 1, H, W].

    Args:
        logits: Logits.
        mask: Mask of 0/1, float.
        weight: Weight of every pixel, see `boundary_weight`.
        bce: "weighted" averages the BCE of each image by the weight (the paper); "released" takes
            its plain mean over the batch, as the released SALI does.

    Raises:
        ValueError: Unknown `bce`, or shapes that differ.
    """
    if logits.shape != mask.shape:
        raise ValueError(f"logits are {tuple(logits.shape)} but the mask is {tuple(mask.shape)}")
    if bce not in BCE_TERMS:
        raise ValueError(f"bce {bce!r} is not one of {BCE_TERMS}")
    logits = logits.float()
    if bce == "weighted":
        pixel_bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        bce_term = (weight * pixel_bce).sum((2, 3)) / weight.sum((2, 3))
    else:
        bce_term = F.binary_cross_entropy_with_logits(logits, mask)
    weighted_probability = weight * logits.sigmoid()
    overlap = (weighted_probability * mask).sum((2, 3))
    total = (weighted_probability + weight * mask).sum((2, 3))
    iou_term = 1 - (overlap + 1) / (total - overlap + 1)
    return (bce_term + iou_term).mean()


class StructureLoss:
    """Sum of the structure loss over the supervised heads.

    Args:
        bce: Term of `structure_loss`.

    Raises:
        ValueError: Unknown `bce`.
    """

    def __init__(self, bce: str) -> None:
        if bce not in BCE_TERMS:
            raise ValueError(f"bce {bce!r} is not one of {BCE_TERMS}")
        self.bce = bce

    def __call__(self, heads: list[Tensor], mask: Tensor) -> Tensor:
        """Return the loss of logits [B, 1, H, W], one per head, against masks of 0/1."""
        mask = mask.float()
        weight = boundary_weight(mask)
        return torch.stack([structure_loss(head, mask, weight, self.bce) for head in heads]).sum()
