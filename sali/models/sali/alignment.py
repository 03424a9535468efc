"""Short-term alignment (the paper's SAM): features of one frame moved onto another's grid.

Pyramid, cascading deformable alignment after EDVR (Wang et al., CVPR Workshops 2019).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sali.models.blocks import NUM_LEVELS, Pyramid, resize
from sali.ops import KERNELS, deform_conv

NEGATIVE_SLOPE = 0.1


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, NEGATIVE_SLOPE)


class Taps(NamedTuple):
    """Where the nine taps of a deformable 3x3 convolution read, for each of G offset groups.

    Attributes:
        offset: Shifts in pixels [B, G * 9 * 2, H, W].
        modulation: Weights of the taps, 0..1 [B, G * 9, H, W].
    """

    offset: Tensor
    modulation: Tensor


class DeformConv(nn.Module):
    """Modulated deformable 3x3 convolution whose offsets come from a second feature map.

    It starts as a plain convolution at half strength: the offset branch is zero.

    Args:
        channels: Channels of both inputs and of the output.
        groups: Offset groups; each shifts its share of the channels on its own.
        kernel: Implementation that computes it, see `sali.ops.deform`.
        max_offset: Bound of the shifts in pixels of the feature map; None: no bound.
    """

    def __init__(
        self, channels: int, groups: int, kernel: str, max_offset: float | None = None
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.max_offset = max_offset
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.to_offset = nn.Conv2d(channels, groups * 3 * 9, 3, padding=1)
        bound = 1 / math.sqrt(channels * 9)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.to_offset.weight)
        nn.init.zeros_(self.to_offset.bias)  # type: ignore[arg-type]

    def taps(self, guide: Tensor) -> Taps:
        """Return where to read, as the second feature map says."""
        both = self.to_offset(guide).float()
        offset, modulation = both.tensor_split([both.shape[1] // 3 * 2], 1)
        if self.max_offset is not None:
            offset = self.max_offset * (offset / self.max_offset).tanh()
        return Taps(offset, modulation.sigmoid())

    def forward(self, x: Tensor, taps: Taps) -> Tensor:
        out = deform_conv(x, *taps, self.weight, self.bias, kernel=self.kernel)
        return out.to(x.dtype)


class ShortTermAlignment(nn.Module):
    """Alignment of a neighbor's pyramid with a reference's, from coarse to fine.

    Args:
        channels: Channels of the pyramids.
        groups: Offset groups of the deformable convolutions.
        kernel: Deformable kernel, one of `sali.ops.KERNELS`.
        max_offset: Bound of the shifts of every level in pixels of that level, approached smoothly:
            without one, a high learning rate drives the taps out of the picture, where there is
            nothing to align. None: no bound, as released.

    Raises:
        ValueError: Unknown kernel, or a bound that is not above zero.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        kernel: str,
        max_offset: float | None = None,
    ) -> None:
        super().__init__()
        if max_offset is not None and not max_offset > 0:
            raise ValueError(f"align.max_offset: got {max_offset}, wanted more than 0, or null")
        if kernel not in KERNELS:
            raise ValueError(f"align kernel {kernel!r} is not one of {sorted(KERNELS)}")
        finer = NUM_LEVELS - 1

        def convs(in_channels: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(
                [nn.Conv2d(in_channels, channels, 3, padding=1) for _ in range(count)]
            )

        self.compare = convs(2 * channels, NUM_LEVELS)
        # The coarsest level has no offset from above to take in.
        self.refine = convs(2 * channels, finer).append(nn.Conv2d(channels, channels, 3, padding=1))
        self.smooth = convs(channels, finer)
        self.deform = nn.ModuleList(
            [DeformConv(channels, groups, kernel, max_offset) for _ in range(NUM_LEVELS)]
        )
        self.merge = convs(2 * channels, finer)

    def forward(self, neighbor: Pyramid, reference: Pyramid) -> Pyramid:
        """Return the pyramid of `neighbor` on the grid of `reference`; same shapes as both."""
        aligned: Pyramid = []
        coarse_offset = coarse = None
        for level in reversed(range(len(reference))):
            x = neighbor[level]
            offset = _leaky(self.compare[level](torch.cat([x, reference[level]], 1)))
            if coarse_offset is None:
                offset = _leaky(self.refine[level](offset))
            else:
                # Offsets are in pixels of their own level, hence the factor 2 on the way up.
                above = 2 * resize(coarse_offset, scale=2)
                offset = _leaky(self.refine[level](torch.cat([offset, above], 1)))
                offset = _leaky(self.smooth[level](offset))
            deform = self.deform[level]
            assert isinstance(deform, DeformConv)
            features = deform(x, deform.taps(offset))
            if coarse is not None:
                features = self.merge[level](torch.cat([features, resize(coarse, scale=2)], 1))
            if level > 0:
                features = _leaky(features)
            aligned.insert(0, features)
            coarse_offset, coarse = offset, features
        return aligned
