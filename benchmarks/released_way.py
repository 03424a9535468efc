"""The released way of computing a frame, as plain PyTorch: what our way is compared with.

It gives the same numbers from the same weights, with the work that the released program does: every
frame is encoded twice, the memory is read through whole matrices, memory and neighbor are aligned
one after the other, and attention builds its matrix.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sali.data.frames import resize_frame
from sali.data.samples import to_tensor
from sali.models.blocks import Pyramid, resize
from sali.models.sali import SALI
from sali.models.sali.alignment import DeformConv, ShortTermAlignment
from sali.models.sali.decoder import SideLogits
from sali.models.sali.fusion import Fusion, PooledNonLocal
from sali.models.sali.memory import KeyValue, masks_on_levels, weigh_values

RELEASED = "released"
"""Name of this way in tables."""


def dense_read(
    query_key: Tensor, memory_key: Tensor, memory_value: Tensor, top_k: int
) -> tuple[Tensor, Tensor]:
    """Do as `memory_read`, through matrices of all elements by all queries."""
    norm = memory_key.pow(2).sum(1).unsqueeze(2)
    product = memory_key.transpose(1, 2) @ query_key
    similarity = (2 * product - norm) / query_key.shape[1] ** 0.5  # [B, N, Q]
    best, index = torch.topk(similarity, min(top_k, similarity.shape[1]), dim=1)
    affinity = torch.zeros_like(similarity).scatter(1, index, best.softmax(1))
    return memory_value @ affinity, affinity.detach().sum(2)


def align(module: ShortTermAlignment, neighbor: Pyramid, reference: Pyramid) -> Pyramid:
    """Return a pyramid moved onto the grid of another, by torchvision's deformable convolution."""
    levels = [deform for deform in module.deform if isinstance(deform, DeformConv)]
    own = levels[0].kernel
    try:
        for deform in levels:
            deform.kernel = "torchvision"
        return module(neighbor, reference)
    finally:
        for deform in levels:
            deform.kernel = own


def attend(module: PooledNonLocal, x: Tensor) -> Tensor:
    """Compute the non-local block with its whole attention matrix."""
    query = x.flatten(2).transpose(1, 2)
    key = F.max_pool2d(x, module.pool).flatten(2)
    value = F.max_pool2d(module.value(x), module.pool).flatten(2).transpose(1, 2)
    attended = (query @ key).softmax(2) @ value
    attended = attended.transpose(1, 2).contiguous().view(x.shape[0], -1, *x.shape[2:])
    return module.merge(torch.cat([x, module.expand(attended) + x], 1))


def fuse(module: Fusion, first: Pyramid, second: Pyramid) -> Pyramid:
    """Return the pyramid to decode of two aligned ones."""
    fused = []
    for level, squeeze in enumerate(module.squeeze):
        block = module.attend[level]
        assert isinstance(block, PooledNonLocal)
        fused.append(squeeze(attend(block, torch.cat([first[level], second[level]], 1))))
    return fused


def segment(
    network: SALI,
    current: Pyramid,
    neighbor: Pyramid,
    query: list[KeyValue],
    memory: list[KeyValue],
) -> tuple[SideLogits, list[Tensor]]:
    """Return side logits of the current frame, and the usage [B, N] of the memory per level."""
    assert network.long_term and network.short_term and network.fusion
    remembered, usages = [], []
    for x, q, m in zip(current, query, memory, strict=True):
        readout, usage = dense_read(q.key, m.key, m.value, network.long_term.top_k)
        remembered.append(torch.cat([readout, q.value], 1).unflatten(2, x.shape[2:]))
        usages.append(usage)
    first = align(network.short_term, remembered, current)
    second = align(network.short_term, neighbor, current)
    return network.decoder(fuse(network.fusion, first, second)), usages


def _upsampled(logits: SideLogits, images: Tensor) -> list[Tensor]:
    return [resize(one, size=(images.shape[2], images.shape[3])) for one in logits]


class ReleasedBank:
    """Elements of past frames; every addition joins all of them anew, then some leave.

    Args:
        max_frames: Cap in whole frames.
    """

    def __init__(self, max_frames: int) -> None:
        self.max_frames = max_frames
        self.elements: list[KeyValue] = []
        self.usage: list[Tensor] = []
        self.life: list[Tensor] = []

    @property
    def sizes(self) -> list[int]:
        return [level.key.shape[2] for level in self.elements]

    def count_usage(self, usages: list[Tensor]) -> None:
        """Record one read: its usage [1, N] per level."""
        self.usage = [u + new[0] for u, new in zip(self.usage, usages, strict=True)]
        self.life = [life + 1 for life in self.life]

    def add(self, frame: list[KeyValue], index: int) -> None:
        """Store a frame's elements; the lowest usage per read leaves once the memory was full."""
        grid = frame[0].key.shape[2]
        usage = [level.key.new_zeros(level.key.shape[2]) for level in frame]
        life = [zeros + 1e-7 for zeros in usage]
        if not self.elements:
            self.elements, self.usage, self.life = list(frame), usage, life
            return
        was_full = self.sizes[0] // grid >= self.max_frames
        self.elements = [
            KeyValue(torch.cat([old.key, new.key], 2), torch.cat([old.value, new.value], 2))
            for old, new in zip(self.elements, frame, strict=True)
        ]
        self.usage = [torch.cat(pair) for pair in zip(self.usage, usage, strict=True)]
        self.life = [torch.cat(pair) for pair in zip(self.life, life, strict=True)]
        if was_full:
            for level in range(len(frame)):
                self._evict(level, int(self.max_frames * grid * 0.25**level))

    def _evict(self, level: int, cap: int) -> None:
        score = self.usage[level] / self.life[level]
        excess = len(score) - cap
        if excess <= 0:  # where the released program stops with an error
            return
        cut = torch.topk(score, excess, largest=False, sorted=True).values[-1]
        keep = score > cut
        key, value = self.elements[level]
        self.elements[level] = KeyValue(key[:, :, keep], value[:, :, keep])
        self.usage[level], self.life[level] = self.usage[level][keep], self.life[level][keep]


def check_network(network: SALI) -> None:
    """Refuse a network that the released way cannot be computed with.

    Raises:
        ValueError: Such a network.
    """
    if not (network.long_term and network.short_term and network.fusion):
        raise ValueError(
            "network: got one without a memory or an alignment, which the released way has; wanted "
            "memory=default and align=auto"
        )
    if network.fusion.residual:
        raise ValueError("fusion: got 'residual', the released way needs 'released'")


class ReleasedStream:
    """Frames of one video, each given together with the next one.

    Args:
        network: Network in evaluation mode, float32, with memory, alignment and released fusion.
        image_size: Side in pixels that the network sees.
        max_frames: Memory cap in frames.
        every: Every n-th frame is stored.

    Raises:
        ValueError: A network that lacks a part.
    """

    def __init__(self, network: SALI, image_size: int, max_frames: int, every: int) -> None:
        check_network(network)
        self.network = network
        self.image_size = image_size
        self.every = every
        self.bank = ReleasedBank(max_frames)
        self.num_frames = 0

    def step(self, frame: np.ndarray, neighbor: np.ndarray) -> np.ndarray:
        """Return the map, uint8 [H, W], of a frame and its neighbor, RGB uint8 [H, W, 3]."""
        device = next(self.network.parameters()).device
        current, following = (
            to_tensor(resize_frame(image, self.image_size)).unsqueeze(0).to(device)
            for image in (frame, neighbor)
        )
        probability = self.probability(current, following, (frame.shape[0], frame.shape[1]))
        low, high = probability.aminmax()
        stretched = (probability - low) / (high - low + 1e-8)
        return (stretched.cpu().numpy() * 255).astype(np.uint8)

    @torch.inference_mode()
    def probability(self, current: Tensor, neighbor: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the probability [H, W] of an image and its neighbor, normalised [1, 3, S, S]."""
        network = self.network
        assert network.long_term is not None
        pyramid = network.reduction(network.backbone(current))
        following = network.reduction(network.backbone(neighbor))
        query = network.long_term.project(pyramid)
        logits, usage = segment(network, pyramid, following, query, self.bank.elements or query)
        if self.bank.elements:
            self.bank.count_usage(usage)
        if self.num_frames % self.every == 0:
            self.bank.add(weigh_values(query, logits.on_levels()), self.num_frames)
        self.num_frames += 1
        heads = _upsampled(logits, current)
        return resize(heads[-1], size=size).sigmoid()[0, 0]


def training_heads(
    network: SALI, current: Tensor, memory: Tensor, memory_mask: Tensor, neighbor: Tensor
) -> list[Tensor]:
    """Return logits of the four heads at the images' size; each kind of frame is a backbone pass.

    Images are [B, 3, H, W], the masks of the memory frames 0/1 [B, 1, H, W].
    """
    assert network.long_term is not None
    pyramids = [network.reduction(network.backbone(x)) for x in (current, memory, neighbor)]
    query, remembered = (network.long_term.project(pyramid) for pyramid in pyramids[:2])
    elements = weigh_values(remembered, masks_on_levels(memory_mask, pyramids[1]))
    logits, _ = segment(network, pyramids[0], pyramids[2], query, elements)
    return _upsampled(logits, current)


def training_loss(heads: list[Tensor], mask: Tensor) -> Tensor:
    """Return the released structure loss, summed over heads that each weigh the pixels anew."""
    total = mask.new_zeros(())
    for logits in heads:
        weight = 1 + 5 * (F.avg_pool2d(mask, 31, stride=1, padding=15) - mask).abs()
        bce = F.binary_cross_entropy_with_logits(logits, mask)
        probability = logits.sigmoid()
        overlap = (probability * mask * weight).sum((2, 3))
        union = ((probability + mask) * weight).sum((2, 3)) - overlap
        total = total + (bce + 1 - (overlap + 1) / (union + 1)).mean()
    return total
