"""SINet-V2 (Fan et al., TPAMI 2021) behind its backbone: from features to four side logits.

Many channels become few, and the decoder refines a coarse map by reverse attention.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sali.models.blocks import ConvBN, Pyramid, resize

BRANCH_KERNELS = (3, 5, 7)
REVERSAL_GROUPS = (1, 4, 32)


class ReceptiveFieldBlock(nn.Module):
    """Four branches of growing receptive field (RFB, Liu et al., ECCV 2018), and a 1x1 shortcut."""

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
    """One receptive field block for each level of the backbone."""

    def __init__(self, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList([ReceptiveFieldBlock(c, channels) for c in in_channels])

    def forward(self, features: Pyramid) -> Pyramid:
        return [level(x) for level, x in zip(self.levels, features, strict=True)]


class SideLogits(NamedTuple):
    """Logits of the four supervised heads, each [B, 1, h, w] on its own grid.

    The coarse ones, of stride 8, are those of the neighbor connection decoder; `level1` is the
    prediction.
    """

    coarse: Tensor
    level3: Tensor
    level2: Tensor
    level1: Tensor

    def on_levels(self) -> list[Tensor]:
        """Return the logits of each pyramid level, fine to coarse."""
        return [self.level1, self.level2, self.level3]


def _up2(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class NeighborConnectionDecoder(nn.Module):
    """Coarse logits from products and stacks of adjacent levels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.up3_to_x2 = ConvBN(c, c, 3)
        self.up2a_to_x1 = ConvBN(c, c, 3)
        self.up2_to_x1 = ConvBN(c, c, 3)
        self.up3_stack = ConvBN(c, c, 3)
        self.up2b_stack = ConvBN(2 * c, 2 * c, 3)
        self.merge2 = ConvBN(2 * c, 2 * c, 3)
        self.merge1 = ConvBN(3 * c, 3 * c, 3)
        self.smooth = ConvBN(3 * c, 3 * c, 3)
        self.score = nn.Conv2d(3 * c, 1, 1)

    def forward(self, pyramid: Pyramid) -> Tensor:
        x1, x2, x3 = pyramid
        up3, up2 = _up2(x3), _up2(x2)
        x2a = self.up3_to_x2(up3) * x2
        x1a = self.up2a_to_x1(_up2(x2a)) * self.up2_to_x1(up2) * x1
        x2b = self.merge2(torch.cat([x2a, self.up3_stack(up3)], 1))
        x1b = self.merge1(torch.cat([x1a, self.up2b_stack(_up2(x2b))], 1))
        return self.score(self.smooth(x1b))

    @torch.no_grad()
    def merge_layers(self) -> None:
        """Compute the last three layers, which have nothing in between, as one; for inference only.

        Of the features before `smooth` only one number per tap of its filter reaches the score. So
        nine maps are computed in place of 3 C, and added up where the taps read them.
        """
        if not all(isinstance(block, ConvBN) for block in (self.merge1, self.smooth)):
            return  # something else was put in their place
        before = fuse_conv_bn_eval(self.merge1.conv, self.merge1.bn)
        smooth = fuse_conv_bn_eval(self.smooth.conv, self.smooth.bn)
        score = self.score.weight[0, :, 0, 0]
        share = torch.einsum("j,jcyx->yxc", score, smooth.weight).flatten(0, 1)  # [9, 3 C]
        maps = nn.Conv2d(before.in_channels, 9, 3, padding=1, device=score.device)
        maps.weight.copy_(torch.einsum("tc,cdyx->tdyx", share, before.weight))
        maps.bias.copy_(share @ before.bias)  # type: ignore[union-attr, operator]
        added = nn.Conv2d(9, 1, 3, padding=1, device=score.device)
        added.weight.copy_(torch.eye(9).view(1, 9, 3, 3))
        added.bias.copy_(score @ smooth.bias + self.score.bias)  # type: ignore[union-attr, operator]
        self.merge1, self.smooth, self.score = maps, added, nn.Identity()  # type: ignore[assignment]


class GroupReversal(nn.Module):
    """Features refined with the reversed map inserted after each of `groups` channel groups."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.refine = nn.Conv2d(channels + groups, channels, 3, padding=1)
        self.score = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        b, c, h, w = x.shape
        grouped = x.view(b, self.groups, c // self.groups, h, w)
        inserted = y.unsqueeze(1).expand(-1, self.groups, -1, -1, -1)
        mixed = torch.cat([grouped, inserted], 2).flatten(1, 2)
        x = x + torch.relu(self.refine(mixed))
        return x, y + self.score(x)


class ReverseStage(nn.Module):
    """Reverse attention: looks where the coarser map saw nothing, and corrects it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([GroupReversal(channels, g) for g in REVERSAL_GROUPS])

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        y = 1 - torch.sigmoid(guidance)
        for block in self.blocks:
            x, y = block(x, y)
        return y + guidance


class Decoder(nn.Module):
    """Four side logits of a pyramid.

    Args:
        channels: Channels of the pyramid; a multiple of the largest number of reversal groups.

    Raises:
        ValueError: If the channels do not split into the groups.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % max(REVERSAL_GROUPS):
            raise ValueError(f"channels is {channels}; wanted a multiple of {max(REVERSAL_GROUPS)}")
        self.coarse = NeighborConnectionDecoder(channels)
        self.stages = nn.ModuleList([ReverseStage(channels) for _ in range(3)])  # levels 1, 2, 3

    def forward(self, pyramid: Pyramid) -> SideLogits:
        coarse = self.coarse(pyramid)
        level3 = self.stages[2](pyramid[2], resize(coarse, scale=0.25))
        level2 = self.stages[1](pyramid[1], resize(level3, scale=2))
        level1 = self.stages[0](pyramid[0], resize(level2, scale=2))
        return SideLogits(coarse, level3, level2, level1)
