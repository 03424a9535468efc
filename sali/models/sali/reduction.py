"""Few channels from many, with several receptive fields (RFB, Liu et al., ECCV 2018)."""

import torch
from torch import Tensor, nn

from sali.models.blocks import ConvBN, Pyramid

BRANCH_KERNELS = (3, 5, 7)


class ReceptiveFieldBlock(nn.Module):
    """Four branches of growing receptive field, merged and added to a 1x1 shortcut.

    Args:
        in_channels: Channels of the backbone at this level.
        channels: Number of channels out.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Sequential(ConvBN(in_channels, channels, 1))])
        for k in BRANCH_KERNELS:
            self.branches.append(
                nn.Sequential(
                    ConvBN(in_channels, channels, 1),
                    ConvBN(channels, channels, (1, k)),
                    ConvBN(channels, channels, (k, 1)),
                    ConvBN(channels, channels, 3, dilation=k),
                )
            )
        self.merge = ConvBN(channels * len(self.branches), channels, 3)
        self.shortcut = ConvBN(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        merged = self.merge(torch.cat([branch(x) for branch in self.branches], 1))
        return torch.relu(merged + self.shortcut(x))


class Reduction(nn.Module):
    """One receptive field block per pyramid level.

    Args:
        in_channels: Channels of the backbone's levels.
        channels: Channels of every level out.
    """

    def __init__(self, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList([ReceptiveFieldBlock(c, channels) for c in in_channels])

    def forward(self, features: Pyramid) -> Pyramid:
        return [level(x) for level, x in zip(self.levels, features, strict=True)]
