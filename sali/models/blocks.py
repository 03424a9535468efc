"""Small blocks shared by the parts of the network."""

import torch.nn.functional as F
from torch import Tensor, nn

NUM_LEVELS = 3
Pyramid = list[Tensor]
"""Feature maps of strides 8, 16 and 32, [B, C, H/8, W/8] first."""


class ConvBN(nn.Module):
    """Convolution without bias and batch norm; the size is kept and there is no activation.

    The kernel is the side, or (height, width), of the filter; odd.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int | tuple[int, int], dilation: int = 1
    ) -> None:
        super().__init__()
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (dilation * (size[0] // 2), dilation * (size[1] // 2))
        self.conv = nn.Conv2d(
            in_channels, out_channels, size, padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


def resize(x: Tensor, size: tuple[int, int] | None = None, scale: float | None = None) -> Tensor:
    """Resize [B, C, H, W] bilinearly, pixel-centre convention (align_corners False)."""
    return F.interpolate(x, size=size, scale_factor=scale, mode="bilinear", align_corners=False)
