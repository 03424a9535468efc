"""Fusion of two aligned pyramids into the one that is decoded ("harmonising" in the paper)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sali.models.blocks import ConvBN, Pyramid
from sali.ops.precision import float32_island

POOLS = (2, 4, 8)
"""Pooling of keys and values per level; the level-3 grid must be at least 8 x 8."""


_attend = float32_island(F.scaled_dot_product_attention)


class PooledNonLocal(nn.Module):
    """Non-local block (Wang et al., CVPR 2018) whose keys and values are max-pooled.

    Args:
        channels: Number of channels in and out.
        pool: Side of the pooling window.
    """

    def __init__(self, channels: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.value = nn.Conv2d(channels, channels // 2, 1)
        self.expand = nn.Conv2d(channels // 2, channels, 1)
        self.merge = nn.Conv2d(2 * channels, channels, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        query = x.flatten(2).transpose(1, 2)  # [B, HW, C]
        key = F.max_pool2d(x, self.pool).flatten(2).transpose(1, 2)
        value = F.max_pool2d(self.value(x), self.pool).flatten(2).transpose(1, 2)
        # Unscaled, as released. With a dimension for heads PyTorch takes its fused kernel, which
        # never builds the HW x M matrix.
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        attended = _attend(query, key, value, scale=1.0).squeeze(1)
        attended = attended.transpose(1, 2).unflatten(2, x.shape[2:]).to(x.dtype)
        return self.merge(torch.cat([x, self.expand(attended) + x], 1))


class Fusion(nn.Module):
    """Fusion of two pyramids; with `residual` the result is added to the current features.

    Args:
        channels: Channels of the pyramids.
        residual: False is the released wiring, in which the decoder sees the fused pyramid only.
            True adds it to the current frame's own features through a last layer that starts at
            zero, so the network starts as its single-frame self.
    """

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.attend = nn.ModuleList([PooledNonLocal(2 * channels, pool) for pool in POOLS])
        self.squeeze = nn.ModuleList([ConvBN(2 * channels, channels, 3) for _ in POOLS])
        if residual:
            for block in self.squeeze:
                nn.init.zeros_(block.bn.weight)  # type: ignore[union-attr, arg-type]

    def forward(self, first: Pyramid, second: Pyramid, current: Pyramid) -> Pyramid:
        """Return the fused pyramid, of the same shapes. The order of the two pyramids matters."""
        fused = [
            squeeze(attend(torch.cat([a, b], 1)))
            for attend, squeeze, a, b in zip(self.attend, self.squeeze, first, second, strict=True)
        ]
        if self.residual:
            return [x + y for x, y in zip(current, fused, strict=True)]
        return fused
