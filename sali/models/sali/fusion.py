"""Fusion of two aligned pyramids into the one that is decoded ("harmonising" in the paper)."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sali.models.blocks import ConvBN, Pyramid
from sali.ops.precision import float32_island

POOLS = (2, 4, 8)
"""Pooling of keys and values per level; the level-3 grid must be at least 8 x 8."""


@float32_island
def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return attention [B, HW, Cv] without scaling, as released.

    With a dimension for heads, and values padded to the channels of the keys, PyTorch takes its
    fused kernel, which never builds the HW x M matrix.
    """
    padded = F.pad(value, (0, query.shape[2] - value.shape[2]))
    query, key, padded = query.unsqueeze(1), key.unsqueeze(1), padded.unsqueeze(1)
    attended = F.scaled_dot_product_attention(query, key, padded, scale=1.0)
    return attended.squeeze(1)[..., : value.shape[2]]


class PooledNonLocal(nn.Module):
    """Non-local block (Wang et al., CVPR 2018) whose keys and values are max-pooled."""

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
        attended = _attend(query, key, value)
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
        """Return the fused pyramid, of the same shapes.

        Args:
            first: One aligned pyramid, of the memory.
            second: The other one, of the neighbor; the order of the two matters.
            current: Pyramid of the current frame.
        """
        fused = []
        for level, pair in enumerate(zip(first, second, strict=True)):
            seen = self.attend[level](torch.cat(pair, 1))
            fused.append(self.combine(level, current[level], seen))
        return fused

    def combine(self, level: int, current: Tensor, seen: Tensor) -> Tensor:
        """Return the features to decode of the current ones and of all that the fusion sees."""
        video = self.squeeze[level](seen)
        return current + video if self.residual else video


class GatedFusion(Fusion):
    """Residual fusion that chooses per pixel between the current frame and the video branch.

    A lean t in -1..1 weighs the two, separately on each level:

        current * (1 - max(t, 0)) + video * (1 + min(t, 0))

    At 1 only the video branch is decoded, so features of an unreadable frame do not get through; at
    -1 only the current frame is. It starts at 0 everywhere, which is the residual fusion: the video
    branch starts at zero, so the network starts as its single-frame self. A plain mix
    current * (1 - g) + video * g that starts closed could not learn: the video branch has no
    gradient where g is 0, and g has none while it mixes in nothing useful.

    Args:
        channels: Channels of the pyramids.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, residual=True)
        self.gate = nn.ModuleList([_gate(3 * channels, channels) for _ in POOLS])

    def combine(self, level: int, current: Tensor, seen: Tensor) -> Tensor:
        lean = self.gate[level](torch.cat([current, seen], 1)).tanh()
        video = self.squeeze[level](seen)
        # Not clamp or relu, whose gradient at 0 is 0: nothing would be learned from the start.
        to_video, to_current = (lean.abs() + lean) / 2, (lean.abs() - lean) / 2
        return current * (1 - to_video) + video * (1 - to_current)


def _gate(in_channels: int, channels: int) -> nn.Sequential:
    """Return convolutions to one map [B, 1, H, W] that is zero at first."""
    last = nn.Conv2d(channels, 1, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU(), last)


FUSIONS: dict[str, Callable[..., Fusion]] = {
    "released": functools.partial(Fusion, residual=False),
    "residual": functools.partial(Fusion, residual=True),
    "gated": GatedFusion,
}
