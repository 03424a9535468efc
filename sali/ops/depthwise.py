"""Depthwise convolutions that train fast in bfloat16 on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn


class _Float32Backward(torch.autograd.Function):
    """Convolution whose gradients are computed in float32, whatever its inputs are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, *shape: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        return torch.conv2d(x, weight.to(x.dtype), None, *shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.shape
        wanted = [*ctx.needs_input_grad[:2], False]
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            *(t.float() for t in (gradient, x, weight)),
            None,
            *(stride, padding, dilation, False, [0, 0], groups),
            wanted,
        )
        if of_x is not None:
            of_x = of_x.to(x.dtype)
        return of_x, of_weight, None, None, None, None


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution; under bfloat16 autocast on a CPU its gradients are those of float32.

    oneDNN has no fast bfloat16 kernel for them: in EfficientNet-Lite0 these 16 layers take more
    than half of a training step, in float32 a tenth.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (x.device.type == "cpu" and torch.is_grad_enabled() and _autocasts_to_bfloat16()):
            return super().forward(x)
        x = x.to(torch.bfloat16)
        y = _Float32Backward.apply(
            x, self.weight, self.stride, self.padding, self.dilation, self.groups
        )
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]


def _autocasts_to_bfloat16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16


def use_fast_depthwise(network: nn.Module) -> int:
    """Make the depthwise convolutions of a network `DepthwiseConv2d`, in place; return how many.

    Weights, names and results stay. Subclasses of `nn.Conv2d` are left alone, and padding that is
    not of zeros.
    """
    count = 0
    for module in network.modules():
        if (
            type(module) is nn.Conv2d
            and 1 < module.groups == module.in_channels
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        ):
            module.__class__ = DepthwiseConv2d
            count += 1
    return count
