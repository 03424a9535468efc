"""Modulated deformable convolution (Zhu et al., Deformable ConvNets v2, CVPR 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from sali.ops import native
from sali.ops.precision import float32_island


def _grid_sample(
    x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Compute the operator with plain PyTorch: it exports, and it checks the other kernels."""
    b, c, h, w = x.shape
    k = weight.shape[-1]
    taps = k * k
    groups = modulation.shape[1] // taps

    row, column = torch.meshgrid(
        torch.arange(h, device=x.device, dtype=x.dtype),
        torch.arange(w, device=x.device, dtype=x.dtype),
        indexing="ij",
    )
    tap = torch.arange(taps, device=x.device)
    tap_y = (tap // k - k // 2).to(x.dtype).view(1, 1, taps, 1, 1)
    tap_x = (tap % k - k // 2).to(x.dtype).view(1, 1, taps, 1, 1)

    shift = offset.view(b, groups, taps, 2, h, w)
    y = row + tap_y + shift[:, :, :, 0]  # [B, G, taps, H, W], pixels
    x_position = column + tap_x + shift[:, :, :, 1]
    # grid_sample counts from -1 to 1 between the outer edges of the outer pixels.
    grid = torch.stack(((2 * x_position + 1) / w - 1, (2 * y + 1) / h - 1), dim=-1)
    grid = grid.view(b * groups, taps * h, w, 2)
    sampled = F.grid_sample(
        x.reshape(b * groups, c // groups, h, w), grid, padding_mode="zeros", align_corners=False
    ).view(b, groups, c // groups, taps, h, w)
    sampled = sampled * modulation.view(b, groups, 1, taps, h, w)
    columns = sampled.reshape(b, c * taps, h * w)
    out = weight.reshape(weight.shape[0], c * taps) @ columns + bias.view(1, -1, 1)
    return out.view(b, -1, h, w)


def _native(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Sample in C++ with channels innermost, then multiply one matrix."""
    columns = torch.ops.sali.deform_sample(x, offset, modulation, weight.shape[-1])
    filters = weight.permute(0, 2, 3, 1).flatten(1)  # [C_out, k * k * C], as the columns lie
    out = F.linear(columns, filters, bias)  # [B, HW, C_out]
    return out.transpose(1, 2).unflatten(2, x.shape[2:])


KERNELS = ("auto", "native", "torchvision", "grid_sample")
"""`native` is C++ for CPUs, `torchvision` runs everywhere, `grid_sample` is plain PyTorch,
`auto` takes the fastest of the first two that is available."""


@float32_island
def deform_conv(
    x: Tensor,
    offset: Tensor,
    modulation: Tensor,
    weight: Tensor,
    bias: Tensor,
    kernel: str = "auto",
) -> Tensor:
    """Convolve `x` at shifted positions (stride 1, same size, zeros outside).

    Computed in float32 also under autocast.

    Args:
        x: Features [B, C, H, W].
        offset: Shifts in pixels [B, G * k * k * 2, H, W]; per group and tap first dy, then dx.
        modulation: Weight of every sample, 0..1 [B, G * k * k, H, W].
        weight: Filter [C_out, C, k, k], k odd.
        bias: Bias [C_out].
        kernel: One of `KERNELS`; all give the same numbers.

    Returns:
        Features [B, C_out, H, W], float32 (float64 for float64 input).

    Raises:
        ValueError: A kernel that is unknown or not available, or a bias that is not one number per
            output channel, which would be spread over the picture.
    """
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias: got shape {tuple(bias.shape)}, wanted {tuple(weight.shape[:1])}, one number "
            "per output channel"
        )
    if kernel not in KERNELS:
        raise ValueError(f"align kernel {kernel!r} is not one of {KERNELS}")
    if kernel == "grid_sample":
        return _grid_sample(x, offset, modulation, weight, bias)
    if kernel != "torchvision":
        if x.device.type == "cpu" and native.available():
            return _native(x, offset, modulation, weight, bias)
        if kernel == "native":
            raise ValueError("align kernel 'native' is not available on this device; use 'auto'")
    padding = weight.shape[-1] // 2
    return deform_conv2d(x, offset, weight, bias, padding=padding, mask=modulation)
