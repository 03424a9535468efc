"""The SALI network (Hu et al., MICCAI 2024, arXiv 2406.13532)."""

import torch
from torch import Tensor, nn

from sali.models.backbone import Backbone
from sali.models.blocks import Pyramid
from sali.models.sali.alignment import ShortTermAlignment
from sali.models.sali.decoder import Decoder, SideLogits
from sali.models.sali.fusion import POOLS, Fusion
from sali.models.sali.memory import KeyValue, LongTermInteraction, masks_on_levels, weigh_values
from sali.models.sali.reduction import Reduction

MIN_SIDE = 32 * max(POOLS)
"""Smallest image side in pixels: the coarsest grid must fill the largest pooling window."""


def check_side(side: int) -> None:
    """Raise ValueError unless ``side`` is an image side (pixels) that the network can take."""
    if side < MIN_SIDE or side % 32:
        lower = max(MIN_SIDE, side // 32 * 32)
        raise ValueError(
            f"image size {side} does not fit the network; it needs a multiple of 32, at least "
            f"{MIN_SIDE}, e.g. {lower} or {lower + 32}"
        )


class SALI(nn.Module):
    """Single-frame segmenter with a long-term memory and a short-term alignment beside it.

    A part that is switched off has no parameters and is not computed; with both off this is a
    single-frame segmenter. It holds nothing of a video: what must be remembered between frames is
    passed in and out.

    Args:
        backbone: timm model name.
        drop_path_rate: stochastic depth of the backbone.
        channels: channels of the pyramid behind the backbone.
        long_term: read a memory of past frames.
        key_channels: channels of a memory key.
        value_channels: channels of a memory value.
        top_k: memory elements read per position.
        align_kernel: deformable kernel of the short-term alignment; None switches it off.
        offset_groups: offset groups of the deformable convolutions.
        fusion: "released" or "residual", see ``Fusion``.

    Raises:
        ValueError: a choice that does not exist, or channels that do not fit together.
    """

    def __init__(
        self,
        backbone: str,
        drop_path_rate: float,
        channels: int,
        long_term: bool,
        key_channels: int,
        value_channels: int,
        top_k: int,
        align_kernel: str | None,
        offset_groups: int,
        fusion: str,
    ) -> None:
        super().__init__()
        if fusion not in ("released", "residual"):
            raise ValueError(f"fusion {fusion!r} is neither 'released' nor 'residual'")
        self.backbone = Backbone(backbone, drop_path_rate)
        self.reduction = Reduction(self.backbone.channels, channels)
        self.long_term = (
            LongTermInteraction(channels, key_channels, value_channels, top_k)
            if long_term
            else None
        )
        self.short_term = (
            ShortTermAlignment(channels, offset_groups, align_kernel) if align_kernel else None
        )
        self.fusion = (
            Fusion(channels, residual=fusion == "residual")
            if self.long_term or self.short_term
            else None
        )
        self.decoder = Decoder(channels)

    @property
    def roles(self) -> tuple[str, ...]:
        """Which frames a training sample needs, in order: memory, current, neighbor."""
        memory = ("memory",) if self.long_term is not None else ()
        neighbor = ("neighbor",) if self.short_term is not None else ()
        return (*memory, "current", *neighbor)

    def encode(self, images: Tensor) -> Pyramid:
        """Pyramid of normalised images [B, 3, H, W]; H and W multiples of 32, at least 256."""
        return self.reduction(self.backbone(images))

    def fuse(
        self, current: Pyramid, remembered: Pyramid | None, neighbor: Pyramid | None
    ) -> Pyramid:
        """Bring memory and neighbor to the current frame; an absent one is the current frame."""
        if self.fusion is None:
            return current
        if self.short_term is not None:
            if neighbor is None:
                raise ValueError("the network has a short-term alignment, so it needs a neighbor")
            if remembered is None:
                neighbor = self.short_term(neighbor, current)
            else:
                # One pass for both: the same weights move memory and neighbor.
                moving = [torch.cat(pair) for pair in zip(remembered, neighbor, strict=True)]
                both = self.short_term(moving, [torch.cat([x, x]) for x in current])
                remembered, neighbor = ([x.chunk(2)[i] for x in both] for i in range(2))
        return self.fusion(remembered or current, neighbor or current, current)

    def segment(
        self,
        current: Pyramid,
        neighbor: Pyramid | None = None,
        query: list[KeyValue] | None = None,
        memory: list[KeyValue] | None = None,
    ) -> tuple[SideLogits, list[Tensor]]:
        """Side logits of the current frame from pyramids, and the usage of the memory's elements.

        Args:
            current: the frame's pyramid.
            neighbor: pyramid of a frame next to it; needed with a short-term alignment.
            query: the frame's keys and values; needed with a long-term memory.
            memory: the elements to read; the frame's own ones for the first frame of a clip.
        """
        remembered, usage = None, []
        if self.long_term is not None:
            if query is None or memory is None:
                raise ValueError("the network has a long-term memory, so it needs query and memory")
            remembered, usage = self.long_term(current, query, memory)
        return self.decoder(self.fuse(current, remembered, neighbor)), usage

    def forward(
        self,
        current: Tensor,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        neighbor: Tensor | None = None,
        context_gradient: bool = True,
    ) -> SideLogits:
        """Side logits of training samples; one backbone pass for all their frames.

        Args:
            current: images [B, 3, H, W].
            memory: an earlier frame each [B, 3, H, W], if the network has a long-term memory.
            memory_mask: its mask of 0/1 [B, 1, H, W].
            neighbor: the frame next to the current one, if there is a short-term alignment.
            context_gradient: False encodes memory and neighbor without gradient, which saves about
                two thirds of the backbone's backward pass.
        """
        context = [x for x in (memory, neighbor) if x is not None]
        pyramids = self._encode_frames([current, *context], context_gradient)
        current_pyramid = pyramids.pop(0)
        query = elements = neighbor_pyramid = None
        if self.long_term is not None:
            if memory is None or memory_mask is None:
                raise ValueError(
                    "the network has a long-term memory, so it needs memory and its mask"
                )
            memory_pyramid = pyramids.pop(0)
            query = self.long_term.project(current_pyramid)
            elements = weigh_values(
                self.long_term.project(memory_pyramid), masks_on_levels(memory_mask, memory_pyramid)
            )
        if self.short_term is not None:
            if neighbor is None:
                raise ValueError("the network has a short-term alignment, so it needs a neighbor")
            neighbor_pyramid = pyramids.pop(0)
        logits, _ = self.segment(current_pyramid, neighbor_pyramid, query, elements)
        return logits

    def _encode_frames(self, frames: list[Tensor], context_gradient: bool) -> list[Pyramid]:
        """Pyramids of several frames, the first always with gradient."""
        if context_gradient or len(frames) == 1:
            features = self.backbone(torch.cat(frames))
            split = [x.chunk(len(frames)) for x in features]
        else:
            own = self.backbone(frames[0])
            with torch.no_grad():
                rest = self.backbone(torch.cat(frames[1:]))
            split = [(x, *y.chunk(len(frames) - 1)) for x, y in zip(own, rest, strict=True)]
        # Reduced one by one: the released network's batch norms see one kind of frame at a time.
        return [self.reduction([level[i] for level in split]) for i in range(len(frames))]
