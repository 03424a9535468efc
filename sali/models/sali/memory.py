"""Long-term interaction (the paper's LIM): the current frame reads a memory of past polyps."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sali.models.blocks import NUM_LEVELS, Pyramid, resize
from sali.ops import memory_read


class KeyValue(NamedTuple):
    """Elements of one level; N = H * W for a whole frame.

    Attributes:
        key: Keys [B, Ck, N].
        value: Values [B, Cv, N].
    """

    key: Tensor
    value: Tensor


def weigh_values(levels: list[KeyValue], masks: list[Tensor]) -> list[KeyValue]:
    """Multiply the values of a frame by 1 + softmax over all positions of its mask.

    Per level the mask, or its logits, is [B, 1, H, W] on the level's grid.
    """
    weighted = []
    for (key, value), mask in zip(levels, masks, strict=True):
        weight = mask.flatten(2).float().softmax(2) + 1  # [B, 1, HW]
        weighted.append(KeyValue(key, value * weight.to(value.dtype)))
    return weighted


def masks_on_levels(mask: Tensor, levels: Pyramid) -> list[Tensor]:
    """Return a mask [B, 1, H, W] of 0/1 on every level's grid, bilinear."""
    return [resize(mask, size=(level.shape[2], level.shape[3])) for level in levels]


class LongTermInteraction(nn.Module):
    """Keys and values of a pyramid, and the memory read on each level.

    Args:
        channels: Channels of the pyramid.
        key_channels: Channels of a key.
        value_channels: Channels of a value; readout and the query's own value are stacked, so
            this is half of `channels`.
        top_k: Memory elements read per query.

    Raises:
        ValueError: If `value_channels` is not half of `channels`.
    """

    def __init__(self, channels: int, key_channels: int, value_channels: int, top_k: int) -> None:
        super().__init__()
        if 2 * value_channels != channels:
            raise ValueError(
                f"value_channels is {value_channels}; readout and query value stacked must give "
                f"the pyramid's {channels} channels, so set it to {channels // 2}"
            )
        self.top_k = top_k
        self.to_key = nn.ModuleList(
            [nn.Conv2d(channels, key_channels, 3, padding=1) for _ in range(NUM_LEVELS)]
        )
        self.to_value = nn.ModuleList(
            [nn.Conv2d(channels, value_channels, 3, padding=1) for _ in range(NUM_LEVELS)]
        )

    def project(self, pyramid: Pyramid) -> list[KeyValue]:
        """Return keys and values of every position of every level."""
        projections = zip(pyramid, self.to_key, self.to_value, strict=True)
        return [KeyValue(key(x).flatten(2), value(x).flatten(2)) for x, key, value in projections]

    def forward(
        self, pyramid: Pyramid, query: list[KeyValue], memory: list[KeyValue]
    ) -> tuple[Pyramid, list[Tensor]]:
        """Read the memory at every position of the current frame, whose elements are the query.

        Returns:
            The remembered pyramid (readout stacked on the query's value), and per level the usage
            [B, N] of the memory's elements.
        """
        remembered, usages = [], []
        for x, q, m in zip(pyramid, query, memory, strict=True):
            readout, usage = memory_read(q.key, m.key, m.value, self.top_k)
            stacked = torch.cat([readout.to(q.value.dtype), q.value], 1)
            remembered.append(stacked.unflatten(2, x.shape[2:]))
            usages.append(usage)
        return remembered, usages
