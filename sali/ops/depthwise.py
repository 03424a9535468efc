"""Depthwise convolutions that train fast in bfloat16 on a CPU."""

from typing import Any

import torch
from timm.layers import Conv2dSame, pad_same
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
        gradient, wide_x, wide_weight = gradient.float(), x.float(), weight.float()
        wanted = [*ctx.needs_input_grad[:2], False]
        geometry = (stride, padding, dilation, False, [0, 0], groups)
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient, wide_x, wide_weight, None, *geometry, wanted
        )
        if of_x is not None:
            of_x = of_x.to(x.dtype)
        return of_x, of_weight, None, None, None, None


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution; under bfloat16 autocast on a CPU its gradients are those of float32.

    oneDNN has no fast bfloat16 kernel for them: in EfficientNet-Lite0 these 16 layers take about
    half of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _convolve(self, x, self.padding) if _trains_in_bfloat16(x) else super().forward(x)


class DepthwiseConv2dSame(Conv2dSame):
    """The same for timm's layer, which pads as TensorFlow does."""

    def forward(self, x: Tensor) -> Tensor:
        if not _trains_in_bfloat16(x):
            return super().forward(x)
        padded = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return _convolve(self, padded, (0, 0))


_FAST: dict[type[nn.Module], type[nn.Conv2d]] = {
    nn.Conv2d: DepthwiseConv2d,
    Conv2dSame: DepthwiseConv2dSame,
}


def _trains_in_bfloat16(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") is torch.bfloat16
    )


def _convolve(module: nn.Conv2d, x: Tensor, padding: Any) -> Tensor:
    geometry = (module.stride, padding, module.dilation, module.groups)
    y: Tensor = _Float32Backward.apply(x.to(torch.bfloat16), module.weight, *geometry)
    return y if module.bias is None else y + module.bias.to(y.dtype)[:, None, None]


def use_fast_depthwise(network: nn.Module) -> int:
    """Make the depthwise convolutions of a network fast to train, in place; return how many.

    Weights and names stay. Other subclasses of `nn.Conv2d` are left alone, and padding
    that is not of zeros.
    """
    count = 0
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and type(module) in _FAST
            and 1 < module.groups == module.in_channels
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        ):
            module.__class__ = _FAST[type(module)]
            count += 1
    return count
