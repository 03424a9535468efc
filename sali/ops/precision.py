"""Float32 islands: parts whose numbers do not survive half precision."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def float32_island(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` with autocast off and every half-precision tensor argument in float32.

    Offsets in pixels, affinities and softmax sums lose too much in 8 bits of mantissa, and
    torchvision's deformable convolution has no bfloat16 kernel on the CPU. Float64 is left
    alone, so that gradient checks stay exact.
    """

    def widen(value: object) -> object:
        if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16):
            return value.float()
        return value

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(a.device.type for a in args if isinstance(a, Tensor))
        with torch.autocast(device, enabled=False):
            wide_args = [widen(a) for a in args]
            wide_kwargs = {name: widen(a) for name, a in kwargs.items()}
            return function(*wide_args, **wide_kwargs)  # type: ignore[arg-type]

    return wrapped
