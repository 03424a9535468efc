"""The SALI network (Hu et al., MICCAI 2024, arXiv 2406.13532)."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sali.models.backbone import Backbone
from sali.models.blocks import Pyramid
from sali.models.contract import (
    ClipBatch,
    VideoSegmenter,
    frames_by_role,
    unknown_settings,
)
from sali.models.sali.alignment import ShortTermAlignment
from sali.models.sali.bank import MemoryBank
from sali.models.sali.decoder import Decoder, Reduction, SideLogits
from sali.models.sali.fusion import FUSIONS, POOLS
from sali.models.sali.memory import (
    KeyValue,
    LongTermInteraction,
    masks_on_levels,
    weigh_values,
)
from sali.models.sali.state import SALIState

MIN_SIDE = 32 * max(POOLS)
"""Smallest image side in pixels: the coarsest grid must fill the largest pooling window."""

NEIGHBORS = ("previous", "next")


class SALI(VideoSegmenter):
    """Single-frame segmenter with a long-term memory and a short-term alignment added to it.

    A part that is switched off has no parameters and is not computed; with both off this is a
    single-frame segmenter.

    Args:
        backbone: Image encoder with strides 8, 16 and 32.
        channels: Channels of the pyramid behind the backbone.
        long_term: Makes the long-term memory of `channels`; None switches it off.
        short_term: Makes the short-term alignment of `channels`; None switches it off.
        bank: Makes the empty memory bank of a video; its arguments are settings of `start`. None
            without a long-term memory.
        fusion: "released", "residual" or "gated", see `Fusion` and `GatedFusion`.
        neighbor: "previous" or "next", the frame that is aligned with the current one.
        context_gradient: False encodes the memory and neighbor frames of training samples without
            gradient, which saves about two thirds of the backbone's backward pass.

    Raises:
        ValueError: A choice that does not exist, or channels that do not fit together.
    """

    def __init__(
        self,
        backbone: Backbone,
        channels: int,
        long_term: Callable[..., LongTermInteraction] | None,
        short_term: Callable[..., ShortTermAlignment] | None,
        bank: Callable[..., MemoryBank] | None,
        fusion: str,
        neighbor: str,
        context_gradient: bool = True,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion: got {fusion!r}, wanted one of {sorted(FUSIONS)}")
        if (long_term is None) != (bank is None):
            raise ValueError("long_term and bank: got one of them, wanted both or neither")
        self.backbone = backbone
        self.reduction = Reduction(backbone.channels, channels)
        self.long_term = long_term(channels=channels) if long_term else None
        self.short_term = short_term(channels=channels) if short_term else None
        self.fusion = FUSIONS[fusion](channels) if self.long_term or self.short_term else None
        self.decoder = Decoder(channels)
        self.neighbor = neighbor
        self.context_gradient = context_gradient
        self._bank = bank
        self.start()  # refuses settings that do not fit before anything is trained

    @property
    def roles(self) -> tuple[str, ...]:  # type: ignore[override]
        memory = ("memory",) if self.long_term is not None else ()
        neighbor = ("neighbor",) if self.short_term is not None else ()
        return (*memory, "current", *neighbor)

    @property
    def pretrained(self) -> nn.Module:
        return self.backbone

    @property
    def video_settings(self) -> dict[str, Any]:
        arguments = inspect.signature(self._bank).parameters if self._bank else {}
        bank = {n: a.default for n, a in arguments.items() if a.default is not a.empty}
        neighbor = {"neighbor": self.neighbor} if self.short_term is not None else {}
        return {**bank, **neighbor}

    def check_image_size(self, side: int) -> None:
        if side < MIN_SIDE or side % 32:
            lower = max(MIN_SIDE, side // 32 * 32)
            raise ValueError(
                f"image size {side} does not fit the network; it needs a multiple of 32, at least "
                f"{MIN_SIDE}, e.g. {lower} or {lower + 32}"
            )

    def load_pretrained(self) -> bool:
        return self.backbone.load_pretrained()

    def start(self, **settings: Any) -> SALIState:
        """Begin a video; the settings are `neighbor` and the arguments of the `MemoryBank`."""
        if problem := unknown_settings(list(settings), self):
            raise ValueError(problem)
        neighbor = settings.pop("neighbor", self.neighbor)
        if neighbor not in NEIGHBORS:
            raise ValueError(f"neighbor: got {neighbor!r}, wanted one of {NEIGHBORS}")
        bank = self._bank(**settings) if self._bank is not None else None
        return SALIState(
            segment=self.segment,
            project=self.long_term.project if self.long_term is not None else None,
            bank=bank,
            looks_ahead=neighbor == "next" and self.short_term is not None,
            device=next(self.parameters()).device,
        )

    def merge_layers(self) -> None:
        self.decoder.coarse.merge_layers()

    def compile_for_streaming(self) -> None:
        super().compile_for_streaming()
        self.segment = torch.compile(self.segment)  # type: ignore[method-assign]

    def encode(self, images: Tensor) -> Pyramid:
        """Return the pyramid of normalised images [B, 3, H, W]."""
        return self.reduction(self.backbone(images))

    def fuse(
        self, current: Pyramid, remembered: Pyramid | None, neighbor: Pyramid | None
    ) -> Pyramid:
        """Return the pyramid to decode; an absent memory or neighbor is the current frame."""
        if self.fusion is None:
            return current
        if self.short_term is None:
            neighbor = None  # a stream has one all the same
        else:
            if neighbor is None:
                raise ValueError("the network has a short-term alignment, so it needs a neighbor")
            if remembered is None:
                neighbor = self.short_term(neighbor, current)
            else:
                # One pass for both: the same weights move memory and neighbor.
                moving = [torch.cat(pair) for pair in zip(remembered, neighbor, strict=True)]
                both = self.short_term(moving, [torch.cat([x, x]) for x in current])
                remembered = [level.chunk(2)[0] for level in both]
                neighbor = [level.chunk(2)[1] for level in both]
        return self.fusion(remembered or current, neighbor or current, current)

    def segment(
        self,
        current: Pyramid,
        neighbor: Pyramid | None = None,
        query: list[KeyValue] | None = None,
        memory: list[KeyValue] | None = None,
    ) -> tuple[SideLogits, list[Tensor]]:
        """Segment the current frame from pyramids.

        With a short-term alignment it needs a neighbor; with a long-term memory keys and values of
        the frame (`query`), and the elements to read: the frame's own ones for the first frame of a
        clip.

        Returns:
            The side logits, and the usage of the memory's elements [1, N] per level.
        """
        remembered, usage = None, []
        if self.long_term is not None:
            if query is None or memory is None:
                raise ValueError("the network has a long-term memory, so it needs query and memory")
            remembered, usage = self.long_term(current, query, memory)
        return self.decoder(self.fuse(current, remembered, neighbor)), usage

    def forward(self, sample: ClipBatch) -> list[Tensor]:
        """Return the four side logits of the current frames, the prediction last.

        One backbone pass for all frames; see `roles` for which.

        Raises:
            ValueError: Not the frames of `roles`.
        """
        given = frames_by_role(self, sample)
        current, _ = given.pop("current")
        order = ["current", *given]  # current, memory, neighbor
        images = [current, *(frames for frames, _ in given.values())]
        pyramids = dict(zip(order, self._encode_frames(images), strict=True))
        query = elements = None
        if self.long_term is not None:
            query = self.long_term.project(pyramids["current"])
            past = pyramids["memory"]
            masks = masks_on_levels(given["memory"][1], past)
            elements = weigh_values(self.long_term.project(past), masks)
        neighbor = pyramids.get("neighbor")
        logits, _ = self.segment(pyramids["current"], neighbor, query, elements)
        return list(logits)

    def _encode_frames(self, frames: list[Tensor]) -> list[Pyramid]:
        """Return the pyramids of several frames, the first always with gradient."""
        if self.context_gradient or len(frames) == 1:
            features = self.backbone(torch.cat(frames))
            split = [x.chunk(len(frames)) for x in features]
        else:
            own = self.backbone(frames[0])
            with torch.no_grad():
                rest = self.backbone(torch.cat(frames[1:]))
            split = [(x, *y.chunk(len(frames) - 1)) for x, y in zip(own, rest, strict=True)]
        # Reduced one by one: the released network's batch norms see one kind of frame at a time.
        return [self.reduction([level[i] for level in split]) for i in range(len(frames))]
