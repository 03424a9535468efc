"""What a network computes for a frame, as modules of tensors that `torch.export` can trace.

The state of a video is an input and an output; what is done with it is in `sali.runtime.states`.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sali.errors import ConfigError
from sali.models.contract import VideoSegmenter
from sali.models.image import ImageState
from sali.models.sali import SALI
from sali.models.sali.alignment import DeformConv
from sali.models.sali.memory import KeyValue, weigh_values

EXPORTED_KERNEL = "grid_sample"
"""Kernel of the deformable convolution that consists of standard operators."""
MAX_SIMILARITIES = 2**22
"""Similarities that a graph holds at once: queries are read in slices."""


@dataclass(frozen=True)
class Graph:
    """A module to export.

    Attributes:
        module: Module; its arguments are tensors and lists of tensors.
        arguments: Example arguments.
        inputs: Names of all tensors among them, in order.
        outputs: Names of the tensors that it returns, in order.
        dynamic: Axis of a variable size by name of an input.
    """

    module: nn.Module
    arguments: tuple[Any, ...]
    inputs: list[str]
    outputs: list[str]
    dynamic: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Graphs:
    """A network as graphs.

    Attributes:
        state: Name of what is remembered of a video, a key of `sali.runtime.states.STATES`.
        options: Further arguments of that state.
        graphs: Graphs by name.
    """

    state: str
    options: dict[str, Any]
    graphs: dict[str, Graph]


def graphs_of(network: VideoSegmenter, image_size: int) -> Graphs:
    """Return the graphs of a network.

    Args:
        network: Network, prepared for streaming.
        image_size: Side in pixels of the images that the graphs take.

    Raises:
        ConfigError: A network that remembers a video in a way of its own.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    generator = torch.Generator().manual_seed(0)
    two = torch.randn(2, 3, image_size, image_size, generator=generator)  # one would fix the batch
    if isinstance(network, SALI) and (network.long_term or network.short_term):
        return _sali_graphs(network, two)
    if isinstance(network, SALI) or isinstance(network.start(), ImageState):
        graph = Graph(_Whole(network), (two,), ["images"], ["logits"], {"images": 0})
        return Graphs("image", {}, {"encode": graph})
    raise ConfigError(
        f"ckpt: {type(network).__name__} remembers a video in a way of its own, which cannot be "
        "exported; wanted SALI or a network of single images"
    )


class _Whole(nn.Module):
    """Images to logits, of a network without a memory."""

    def __init__(self, network: VideoSegmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features = self.network.encode(images)
        if isinstance(self.network, SALI):
            return self.network.segment(features)[0].level1
        return features[-1]


def _sali_graphs(network: SALI, images: Tensor) -> Graphs:
    for module in network.modules():
        if isinstance(module, DeformConv):
            module.kernel = EXPORTED_KERNEL
    with torch.no_grad():
        pyramid = network.encode(images[:1])
        # Of another image: tensors that are one object would become one input.
        neighbor = network.encode(images[1:]) if network.short_term is not None else []
        encode = _Encode(network)
        features = encode(images)
    count = len(pyramid)

    def names(what: str, used: object = True) -> list[str]:
        return [f"{what}{level}" for level in range(count)] if used else []

    elements = names("key", network.long_term) + names("value", network.long_term)
    graphs = {
        "encode": Graph(encode, (images,), ["images"], names("pyramid") + elements, {"images": 0})
    }
    key, value = ([x[:1] for x in features[i * count :][:count]] for i in (1, 2))
    memory_key, memory_value = (
        [x.flatten(0, 1) for x in features[i * count :][:count]] for i in (1, 2)
    )
    capacity = network.video_settings.get("max_frames", 0) + 1
    memory = names("memory_key", key) + names("memory_value", key)
    graphs["step"] = Graph(
        _Step(network, capacity),
        (list(pyramid), key, value, list(neighbor), memory_key, memory_value),
        [*names("pyramid"), *elements, *names("neighbor", neighbor), *memory],
        ["logits", *names("usage", key), *names("new_value", key)],
        dict.fromkeys(memory, 0),
    )
    options = {"levels": count, "reads_memory": bool(key), "aligns": bool(neighbor)}
    return Graphs("memory", options, graphs)


class _Encode(nn.Module):
    """Images to their pyramids, and keys and values [B, HW, C] where there is a memory."""

    def __init__(self, network: SALI) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        pyramid = self.network.encode(images)
        if self.network.long_term is None:
            return list(pyramid)
        elements = self.network.long_term.project(pyramid)
        rows = [[e.key.mT for e in elements], [e.value.mT for e in elements]]
        return [*pyramid, *rows[0], *rows[1]]


class _Step(nn.Module):
    """A frame, its neighbor and the memory to logits, usage and the values to remember.

    Args:
        network: Network with a memory, an alignment, or both.
        capacity: Frames that the memory may hold when queries are sliced; more only need more
            room.
    """

    def __init__(self, network: SALI, capacity: int) -> None:
        super().__init__()
        self.network = network
        self.capacity = capacity

    def forward(
        self,
        pyramid: list[Tensor],
        key: list[Tensor],
        value: list[Tensor],
        neighbor: list[Tensor],
        memory_key: list[Tensor],
        memory_value: list[Tensor],
    ) -> list[Tensor]:
        """Segment a frame.

        Args:
            pyramid: Features of the frame.
            key: Its keys [1, HW, Ck].
            value: Its values [1, HW, Cv].
            neighbor: Features of a frame next to it.
            memory_key: Keys [N, Ck] that are read.
            memory_value: Values [N, Cv] that are read.

        Returns:
            Logits [1, 1, h, w], then usage [N] per level, then the weighted values [HW, Cv] per
            level.
        """
        network = self.network
        remembered, usages = None, []
        if network.long_term is not None:
            remembered = []
            memory = zip(memory_key, memory_value, strict=True)
            for x, k, v, (keys, values) in zip(pyramid, key, value, memory, strict=True):
                readout, usage = read(k[0], keys, values, network.long_term.top_k, self.capacity)
                stacked = torch.cat([readout, v[0]], 1)  # [HW, 2 Cv]
                remembered.append(stacked.mT.unflatten(1, x.shape[2:])[None])
                usages.append(usage)
        logits = network.decoder(network.fuse(pyramid, remembered, neighbor or None))
        stored = []
        if network.long_term is not None:
            own = [KeyValue(k.mT, v.mT) for k, v in zip(key, value, strict=True)]
            stored = [e.value[0].mT for e in weigh_values(own, logits.on_levels())]
        return [logits.level1, *usages, *stored]


def read(
    query_key: Tensor, memory_key: Tensor, memory_value: Tensor, top_k: int, capacity: int
) -> tuple[Tensor, Tensor]:
    """Do as `sali.ops.memory_read`, in standard operators and without sorting all similarities.

    The memory is split into blocks. The `top_k` nearest elements are in the `top_k` blocks with
    the nearest best element, so only those are sorted.

    Args:
        query_key: Keys of the queries [Q, Ck].
        memory_key: Keys of the memory [N, Ck], N a multiple of Q.
        memory_value: Values of the memory [N, Cv].
        top_k: Number of elements read per query.
        capacity: Largest N / Q for which no more than `MAX_SIMILARITIES` are held at once.

    Returns:
        Readout [Q, Cv] and usage [N].
    """
    num_queries, channels = query_key.shape
    k = min(top_k, num_queries)
    block = _block(num_queries, k)
    norm = memory_key.square().sum(1, keepdim=True)
    scaled = torch.cat([2 * query_key, -torch.ones_like(query_key[:, :1])], 1) / channels**0.5
    augmented = torch.cat([memory_key, norm], 1).mT  # its product is the similarity
    slices = -(-(num_queries * num_queries * capacity) // MAX_SIMILARITIES)
    readouts, weights, indices = [], [], []
    for query in scaled.chunk(slices):
        similarity = query @ augmented  # [q, N]
        if block > 1:
            blocks = similarity.unflatten(1, (block, -1))  # block b: elements b, b + N / block ...
            number = blocks.shape[2]
            nearest = blocks.amax(1).topk(k).indices  # [q, k]
            steps = torch.arange(block, device=nearest.device) * number
            candidates = (nearest[:, :, None] + steps).flatten(1)  # [q, k * block]
            best, place = similarity.gather(1, candidates).topk(k)
            index = candidates.gather(1, place)
        else:
            best, index = similarity.topk(k)
        weight = best.softmax(1)
        readouts.append((weight[:, :, None] * memory_value[index]).sum(1))
        weights.append(weight.flatten())
        indices.append(index.flatten())
    usage = torch.zeros_like(memory_key[:, 0])
    usage = usage.scatter_add(0, torch.cat(indices), torch.cat(weights))
    return torch.cat(readouts), usage


def _block(grid: int, k: int) -> int:
    """Return the largest power of two that splits a grid evenly into at least k blocks."""
    block = 1
    while grid % (2 * block) == 0 and grid // (2 * block) >= k:
        block *= 2
    return block


def flattened(values: Any) -> list[Tensor]:
    """Return the tensors of a tensor, or of nested lists and tuples of them, in order."""
    if isinstance(values, Tensor):
        return [values]
    return [tensor for value in values for tensor in flattened(value)]
