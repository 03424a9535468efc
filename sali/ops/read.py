"""Reading a memory by similarity of keys: L2 similarity, top-k softmax, weighted sum of values."""

import torch
from torch import Tensor

from sali.ops import native
from sali.ops.precision import float32_island


def similarity(query_key: Tensor, memory_key: Tensor) -> Tensor:
    """Return the negative squared distance of keys over sqrt(C), without the query's own norm.

    That norm is the same for every element of the memory, so a softmax over N never sees it. Keys
    [B, C, Q] and [B, C, N] give similarities [B, Q, N].
    """
    dot = query_key.transpose(1, 2) @ memory_key
    norm = memory_key.square().sum(1, keepdim=True)
    return (2 * dot - norm) / query_key.shape[1] ** 0.5


KERNELS = ("auto", "native", "torch")

MAX_BYTES = 2**28
"""Most bytes that reading with PyTorch's operators holds at once, beside what goes in and out."""


@float32_island
def memory_read(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    top_k: int,
    kernel: str = "auto",
    max_bytes: int = MAX_BYTES,
) -> tuple[Tensor, Tensor]:
    """Read `memory_value` at the `top_k` keys nearest to each query.

    Per query: softmax over the `top_k` largest similarities (all of them if N is smaller), zero
    elsewhere. Computed in float32 also under autocast. Of elements that are exactly equally similar
    the native kernel reads those of lowest index; PyTorch's `topk` leaves it open. A key that is
    not a number makes what it could touch NaN.

    Args:
        query_key: Keys of the queries [B, Ck, Q].
        memory_key: Keys of the memory [B, Ck, N].
        memory_value: Values of the memory [B, Cv, N].
        top_k: Number of elements read per query.
        kernel: "native" is one pass of C++ over the memory, for CPUs. "torch" reads queries in
            slices with PyTorch's operators, on any device. "auto" takes the first where it is
            available.
        max_bytes: Bound for "torch" on the bytes held at once, forward or backward. A slice has at
            least one query. Training also keeps the elements that were read, [B, Q, k, Cv].

    Returns:
        readout [B, Cv, Q] and usage [B, N]: the softmax weights that every element received,
        summed over queries (no gradient).

    Raises:
        ValueError: Not such tensors, an empty memory, or no such kernel.
    """
    shapes = [tuple(one.shape) for one in (query_key, memory_key, memory_value)]
    if any(len(shape) != 3 for shape in shapes) or top_k < 1:
        raise ValueError(
            f"got {shapes}, top_k={top_k}; wanted tensors [B, C, N], top_k of 1 or more"
        )
    if memory_key.shape[2] == 0:
        raise ValueError("the memory is empty; store a frame, or read the frame's own keys")
    if kernel not in KERNELS:
        raise ValueError(f"memory read kernel {kernel!r} is not one of {KERNELS}")
    if kernel == "native" or (kernel == "auto" and query_key.device.type == "cpu"):
        if native.available():
            read = torch.ops.sali.memory_read
            readout, usage, _, _ = read(query_key, memory_key, memory_value, top_k)
            return readout, usage
        if kernel == "native":
            raise ValueError("memory read kernel 'native' is not available here; use 'auto'")
    return _read_in_slices(query_key, memory_key, memory_value, top_k, max_bytes)


SIMILARITY_COPIES = 4
"""Tensors of the shape of the similarities that are alive at once while they are computed."""


def _read_in_slices(
    query_key: Tensor, memory_key: Tensor, memory_value: Tensor, top_k: int, max_bytes: int
) -> tuple[Tensor, Tensor]:
    batch, num_values, num_memory = memory_value.shape
    k = min(top_k, num_memory)
    # Of one query: its similarities, then the values that it reads, plain and weighted.
    numbers = max(SIMILARITY_COPIES * num_memory, 2 * k * num_values)
    step = max(1, max_bytes // max(1, batch * numbers * memory_value.element_size()))
    values = memory_value.transpose(1, 2)  # [B, N, Cv]: one row per element, gathered whole
    usage = memory_value.new_zeros(batch, num_memory)
    readouts = []
    for start in range(0, max(1, query_key.shape[2]), step):  # also without a query
        best, index = similarity(query_key[:, :, start : start + step], memory_key).topk(k, dim=2)
        weight = best.softmax(2)  # [B, q, k]
        picked = values.gather(1, index.flatten(1).unsqueeze(2).expand(-1, -1, num_values))
        picked = picked.view(*index.shape, num_values)  # [B, q, k, Cv]
        readouts.append((weight.unsqueeze(3) * picked).sum(2))
        usage.scatter_add_(1, index.flatten(1), weight.detach().flatten(1))
    return torch.cat(readouts, 1).transpose(1, 2), usage
