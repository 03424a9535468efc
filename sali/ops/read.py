"""Reading a memory by similarity of keys: L2 similarity, top-k softmax, weighted sum of values."""

import torch
from torch import Tensor

from sali.ops import native
from sali.ops.precision import float32_island


def similarity(query_key: Tensor, memory_key: Tensor) -> Tensor:
    """Return the negative squared distance of keys over sqrt(C), without the query's own norm.

    That norm is the same for every element of the memory, so a softmax over N never sees it.

    Args:
        query_key: Keys of the queries [B, C, Q].
        memory_key: Keys of the memory [B, C, N].

    Returns:
        Similarities [B, Q, N].
    """
    dot = query_key.transpose(1, 2) @ memory_key
    norm = memory_key.square().sum(1, keepdim=True)
    return (2 * dot - norm) / query_key.shape[1] ** 0.5


KERNELS = ("auto", "native", "torch")


@float32_island
def memory_read(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    top_k: int,
    kernel: str = "auto",
    max_elements: int = 2**24,
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
            slices with PyTorch's operators. "auto" takes the first where it is available.
        max_elements: Upper bound for "torch" on the numbers in the similarity matrix held at once.

    Returns:
        readout [B, Cv, Q] and usage [B, N]: the softmax weights that every element received,
        summed over queries (no gradient).

    Raises:
        ValueError: The memory is empty, or there is no such kernel.
    """
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
    return _read_in_slices(query_key, memory_key, memory_value, top_k, max_elements)


def _read_in_slices(
    query_key: Tensor, memory_key: Tensor, memory_value: Tensor, top_k: int, max_elements: int
) -> tuple[Tensor, Tensor]:
    batch, _, num_memory = memory_key.shape
    k = min(top_k, num_memory)
    step = max(1, max_elements // (batch * num_memory))
    values = memory_value.transpose(1, 2)  # [B, N, Cv]: one row per element, gathered whole
    usage = memory_value.new_zeros(batch, num_memory)
    readouts = []
    for start in range(0, query_key.shape[2], step):
        best, index = similarity(query_key[:, :, start : start + step], memory_key).topk(k, dim=2)
        weight = best.softmax(2)  # [B, q, k]
        picked = values.gather(1, index.flatten(1).unsqueeze(2).expand(-1, -1, values.shape[2]))
        picked = picked.view(*index.shape, -1)  # [B, q, k, Cv]
        readouts.append((weight.unsqueeze(3) * picked).sum(2))
        usage.scatter_add_(1, index.flatten(1), weight.detach().flatten(1))
    return torch.cat(readouts, 1).transpose(1, 2), usage
