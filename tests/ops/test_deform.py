"""The two deformable kernels against each other, and against a plain convolution."""

import pytest
import torch
import torch.nn.functional as F

from sali.ops import KERNELS, deform_conv


def inputs(batch=2, channels=16, groups=4, height=7, width=9, dtype=torch.float32, scale=3.0):
    return [
        torch.randn(batch, channels, height, width, dtype=dtype),
        scale * torch.randn(batch, groups * 18, height, width, dtype=dtype),
        torch.rand(batch, groups * 9, height, width, dtype=dtype),
        torch.randn(8, channels, 3, 3, dtype=dtype),
        torch.randn(8, dtype=dtype),
    ]


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_without_offset_it_is_a_convolution(kernel):
    x, offset, modulation, weight, bias = inputs()
    got = deform_conv(x, 0 * offset, 0 * modulation + 1, weight, bias, kernel=kernel)
    torch.testing.assert_close(got, F.conv2d(x, weight, bias, padding=1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_whole_pixel_offset_moves_rows_before_columns(kernel):
    x, offset, modulation, weight, bias = inputs()
    offset = offset * 0
    offset[:, 0::2] = 1  # dy
    offset[:, 1::2] = -2  # dx
    padded = F.pad(x, (4, 4, 4, 4))
    moved = padded[:, :, 5 : 5 + 7, 2 : 2 + 9]
    got = deform_conv(x, offset, 0 * modulation + 1, weight, bias, kernel=kernel)
    expected = F.conv2d(moved, weight, bias, padding=1)
    # Away from the border, where the convolution's own padding differs from moved-in pixels.
    torch.testing.assert_close(
        got[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (2, 3), (11, 13)])
def test_kernels_agree_in_values_and_gradients(size):
    results = []
    arguments = inputs(height=size[0], width=size[1], dtype=torch.float64)
    direction = None
    for kernel in sorted(KERNELS):
        leaves = [a.clone().requires_grad_() for a in arguments]
        out = deform_conv(*leaves, kernel=kernel)
        direction = torch.randn_like(out) if direction is None else direction
        results.append([out, *torch.autograd.grad((out * direction).sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-8)


def test_gradients_of_the_pure_kernel():
    # Offsets away from whole pixels, where bilinear sampling has a kink.
    arguments = inputs(1, 4, 2, 3, 3, torch.float64)
    arguments[1] = torch.rand_like(arguments[1]) * 0.6 + 0.2
    leaves = [a.requires_grad_() for a in arguments]
    assert torch.autograd.gradcheck(lambda *a: deform_conv(*a, kernel="grid_sample"), leaves)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_float32_under_autocast(kernel):
    arguments = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = deform_conv(*[a.bfloat16() for a in arguments[:1]], *arguments[1:], kernel=kernel)
    expected = deform_conv(arguments[0].bfloat16().float(), *arguments[1:], kernel=kernel)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)
