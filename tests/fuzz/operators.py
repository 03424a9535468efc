"""The operators with tensors of all shapes, types and values, each with a plain reference."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fuzz.engine import Case, Kind, WrongError
from fuzz.mutations import Random
from sali.ops import deform_conv, memory_read, native

SIZES = (0, 1, 1, 2, 3, 4, 5, 8, 17, 33)
ODD_VALUES = (0.0, -0.0, 1e30, -1e30, 3e38, math.inf, -math.inf, math.nan, 1e-40)
DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64)


def _size(rng: Random) -> int:
    return SIZES[rng.integers(len(SIZES))]


def _tensor(rng: Random, shape: list[int], spread: float = 1) -> Tensor:
    """Return random numbers; the shape, type, layout and single values are seldom others."""
    if rng.random() < 0.03:
        shape = [*shape, 1] if rng.random() < 0.5 else shape[:-1]
    if rng.random() < 0.04 and shape:
        shape[rng.integers(len(shape))] = _size(rng)
    one = torch.from_numpy(np.asarray(rng.normal(0, spread, shape), np.float32))
    if rng.random() < 0.05 and one.numel():
        one.view(-1)[rng.integers(one.numel())] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    draw = rng.random()
    if draw < 0.1 and one.ndim > 1:
        one = one.transpose(1, -1).contiguous().transpose(1, -1)
    elif draw < 0.15:
        one = torch.stack([one, one], -1)[..., 0]
    elif draw < 0.2 and one.ndim and one.numel():
        one = one[:1].expand_as(one)
    if rng.random() < 0.04:
        one = one.to(DTYPES[rng.integers(len(DTYPES))])
    return one


def _read(rng: Random) -> None:
    b, ck, q, n, cv = (_size(rng) for _ in range(5))
    ck = 4 if rng.random() < 0.3 else ck
    tensors = [_tensor(rng, shape) for shape in ([b, ck, q], [b, ck, n], [b, cv, n])]
    top_k = int((1, 2, 5, 20, 40, 0, -1, 2**40)[rng.integers(8)])
    _compared(rng, tensors, lambda kernel, *given: memory_read(*given, top_k, kernel), "torch")


def _align(rng: Random) -> None:
    b, groups, per_group, h, w, out = (_size(rng) for _ in range(6))
    side = int((1, 3, 5, 2, 0)[rng.choice(5, p=(0.3, 0.4, 0.2, 0.05, 0.05))])
    taps = side * side
    spread = (0.5, 3, 100)[rng.integers(3)]
    tensors = [
        _tensor(rng, [b, groups * per_group, h, w]),
        _tensor(rng, [b, groups * taps * 2, h, w], spread),
        _tensor(rng, [b, groups * taps, h, w]),
        _tensor(rng, [out, groups * per_group, side, side]),
        _tensor(rng, [out]),
    ]
    # Between pixels the read is smooth; at their centres its slope has two values, both right.
    shift = tensors[1].float()
    tensors[1] = torch.where((shift - shift.round()).abs() < 0.01, 0.25, tensors[1])
    _compared(rng, tensors, lambda kernel, *given: deform_conv(*given, kernel), "grid_sample")


def _compared(rng: Random, tensors: list[Tensor], call, reference: str) -> None:
    """Call the fast kernel and the plain one, sometimes backwards too; the results must agree."""
    backward = rng.random() < 0.3 and all(t.is_floating_point() for t in tensors)
    if backward:
        tensors = [t.detach().clone().requires_grad_() for t in tensors]
    before = [t.detach().clone() for t in tensors]
    kernel = ("native", "auto")[rng.integers(2)]
    fast = _results(call(kernel, *tensors), tensors, backward)
    if any(not _same(a, b.detach()) for a, b in zip(before, tensors, strict=True)):
        raise WrongError("an operator changed what it was given")
    if not all(
        bool(t.isfinite().all()) and float(t.detach().abs().max()) < 1e6
        for t in before
        if t.numel()
    ):
        return
    plain = _results(call(reference, *tensors), tensors, backward)
    for one, other in zip(fast, plain, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            raise WrongError(f"got {one.dtype} {tuple(one.shape)}, not {tuple(other.shape)}")
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-2, equal_nan=True):
            raise WrongError(f"differs by {(one - other).abs().max()}")


def _results(
    given: Tensor | tuple[Tensor, ...], tensors: list[Tensor], backward: bool
) -> list[Tensor]:
    results = [given] if isinstance(given, Tensor) else list(given)
    if backward:
        grads = torch.autograd.grad(results[0].float().sum(), tensors, allow_unused=True)
        results += [grad for grad in grads if grad is not None]
    return [one.detach() for one in results]


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(torch.all((one == other) | (one != one)))


def _prepare(folder: Path) -> Case:
    native.available()

    def case(rng: Random) -> None:
        torch.manual_seed(0)
        (_read, _align)[rng.integers(2)](rng)

    return case


OPERATORS = Kind(_prepare, (ValueError, RuntimeError), one_line=False)
