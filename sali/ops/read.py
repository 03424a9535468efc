"""Reading a memory by similarity of keys: L2 similarity, top-k softmax, weighted sum of values."""

import torch
from torch import Tensor

from sali.ops.precision import float32_island


def similarity(query_key: Tensor, memory_key: Tensor) -> Tensor:
    """Negative squared distance of keys over sqrt(C), without the query's own norm.

    That norm is the same for every element of the memory, so a softmax over N never sees it.

    Args:
        query_key: [B, C, Q].
        memory_key: [B, C, N].

    Returns:
        [B, Q, N].
    """
    dot = query_key.transpose(1, 2) @ memory_key
    norm = memory_key.square().sum(1, keepdim=True)
    return (2 * dot - norm) / query_key.shape[1] ** 0.5


@float32_island
def memory_read(
    query_key: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    top_k: int,
    max_elements: int = 2**24,
) -> tuple[Tensor, Tensor]:
    """Read ``memory_value`` at the ``top_k`` keys nearest to each query.

    Per query: softmax over the ``top_k`` largest similarities (all of them if N is smaller), zero
    elsewhere. Queries are read in slices, so that the Q x N similarity never takes more than
    ``max_elements`` numbers at a time. Computed in float32 also under autocast.

    Args:
        query_key: [B, Ck, Q].
        memory_key: [B, Ck, N].
        memory_value: [B, Cv, N].
        top_k: number of elements read per query.
        max_elements: bound on the size of the similarity matrix held at once.

    Returns:
        readout [B, Cv, Q] and usage [B, N]: the softmax weights that every element received,
        summed over queries (no gradient).

    Raises:
        ValueError: if the memory is empty.
    """
    batch, _, num_memory = memory_key.shape
    num_queries = query_key.shape[2]
    if num_memory == 0:
        raise ValueError("the memory is empty; store a frame, or read the frame's own keys")
    k = min(top_k, num_memory)
    step = max(1, max_elements // (batch * num_memory))
    values = memory_value.transpose(1, 2)  # [B, N, Cv]: one row per element, gathered whole
    usage = memory_value.new_zeros(batch, num_memory)
    readouts = []
    for start in range(0, num_queries, step):
        best, index = similarity(query_key[:, :, start : start + step], memory_key).topk(k, dim=2)
        weight = best.softmax(2)  # [B, q, k]
        picked = values.gather(1, index.flatten(1).unsqueeze(2).expand(-1, -1, values.shape[2]))
        picked = picked.view(*index.shape, -1)  # [B, q, k, Cv]
        readouts.append((weight.unsqueeze(3) * picked).sum(2))
        usage.scatter_add_(1, index.flatten(1), weight.detach().flatten(1))
    return torch.cat(readouts, 1).transpose(1, 2), usage
