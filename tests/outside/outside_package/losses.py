"""Losses from outside."""

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

Term = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the binary cross entropy of logits [B, 1, H, W] and a 0/1 mask of that shape."""
    return F.binary_cross_entropy_with_logits(logits.float(), mask)


class DiceTerm:
    """One minus the soft Dice of a batch.

    Args:
        smooth: Added to both parts of the quotient.
    """

    def __init__(self, smooth: float) -> None:
        self.smooth = smooth

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of logits [B, 1, H, W] and a 0/1 mask of that shape."""
        probability = logits.float().sigmoid()
        both = 2 * (probability * mask).sum() + self.smooth
        return 1 - both / (probability.sum() + mask.sum() + self.smooth)


class WeightedSum:
    """Weighted sum of terms over all supervised logits.

    Args:
        terms: Functions of (logits, mask) by name.
        weights: Weight of each term, by the same names.
    """

    def __init__(self, terms: Mapping[str, Term], weights: Mapping[str, float]) -> None:
        if set(terms) != set(weights):
            raise ValueError(f"weights: got {sorted(weights)}, wanted those of {sorted(terms)}")
        self.terms = terms
        self.weights = weights

    def __call__(self, logits: list[Tensor], mask: Tensor) -> Tensor:
        """Return the sum over logits [B, 1, H, W] at the mask's size."""
        return sum(
            (
                weight * self.terms[name](one, mask)
                for one in logits
                for name, weight in self.weights.items()
            ),
            start=mask.new_zeros(()),
        )
