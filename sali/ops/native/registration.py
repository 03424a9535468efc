"""What PyTorch must know of the C++ operators: shapes for tracing, gradients for training."""

from typing import Any

import torch
from torch import Tensor


@torch.library.register_fake("sali::memory_read")
def _(query_key: Tensor, memory_key: Tensor, memory_value: Tensor, top_k: int) -> Any:
    batch, _, num_queries = query_key.shape
    num_elements = memory_key.shape[2]
    k = min(top_k, num_elements)
    readout = query_key.new_empty(batch, num_queries, memory_value.shape[1]).transpose(1, 2)
    usage = query_key.new_empty(batch, num_elements)
    weight = query_key.new_empty(batch, num_queries, k)
    return readout, usage, weight, weight.new_empty(weight.shape, dtype=torch.int64)


def _keep_read(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    query_key, memory_key, memory_value, _ = inputs
    _, usage, weight, index = output
    ctx.mark_non_differentiable(usage, weight, index)
    ctx.save_for_backward(query_key, memory_key, memory_value, weight, index)


def _read_backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    """Through the k elements that were read; the choice of them has no gradient."""
    query_key, memory_key, memory_value, weight, index = ctx.saved_tensors
    flat = index.flatten(1)  # [B, Q * k]

    def pick(elements: Tensor) -> Tensor:
        """[B, C, N] -> [B, Q, k, C]."""
        rows = elements.transpose(1, 2)
        wanted = flat.unsqueeze(2).expand(-1, -1, rows.shape[2])
        return rows.gather(1, wanted).unflatten(1, index.shape[1:])

    def put(rows: Tensor, like: Tensor) -> Tensor:
        """[B, Q, k, C] -> [B, C, N], summed per element."""
        wanted = flat.unsqueeze(1).expand(-1, like.shape[1], -1)
        return torch.zeros_like(like).scatter_add_(2, wanted, rows.flatten(1, 2).transpose(1, 2))

    gradient = gradient.transpose(1, 2).unsqueeze(2)  # [B, Q, 1, Cv]
    along_weight = (pick(memory_value) * gradient).sum(3)
    along_similarity = weight * (along_weight - (weight * along_weight).sum(2, keepdim=True))
    along_similarity = along_similarity.unsqueeze(3) * (2 / query_key.shape[1] ** 0.5)
    difference = query_key.transpose(1, 2).unsqueeze(2) - pick(memory_key)
    query_gradient = (along_similarity * pick(memory_key)).sum(2).transpose(1, 2)
    return (
        query_gradient,
        put(along_similarity * difference, memory_key),
        put(weight.unsqueeze(3) * gradient, memory_value),
        None,
    )


torch.library.register_autograd("sali::memory_read", _read_backward, setup_context=_keep_read)


@torch.library.register_fake("sali::deform_sample")
def _(x: Tensor, offset: Tensor, modulation: Tensor, side: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[2] * x.shape[3], side * side * x.shape[1])


@torch.library.register_fake("sali::deform_sample_backward")
def _(gradient: Tensor, x: Tensor, offset: Tensor, modulation: Tensor, side: int) -> Any:
    image = x.permute(0, 2, 3, 1).contiguous()
    return (
        torch.empty_like(image).permute(0, 3, 1, 2),
        offset.new_empty(offset.shape),
        modulation.new_empty(modulation.shape),
    )


def _keep_sample(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.side = inputs
    ctx.save_for_backward(*tensors)


def _sample_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    back = torch.ops.sali.deform_sample_backward
    return (*back(gradient, *ctx.saved_tensors, ctx.side), None)


torch.library.register_autograd("sali::deform_sample", _sample_backward, setup_context=_keep_sample)
