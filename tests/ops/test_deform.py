"""The deformable kernels against each other, and against a plain convolution."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sali.ops import KERNELS, deform_conv, native

HERE = sorted(k for k in KERNELS if k != "native" or native.available())


def inputs(batch=2, channels=16, groups=4, height=7, width=9, dtype=torch.float32, scale=3.0):
    return [
        torch.randn(batch, channels, height, width, dtype=dtype),
        scale * torch.randn(batch, groups * 18, height, width, dtype=dtype),
        torch.rand(batch, groups * 9, height, width, dtype=dtype),
        torch.randn(8, channels, 3, 3, dtype=dtype),
        torch.randn(8, dtype=dtype),
    ]


@pytest.mark.parametrize("kernel", HERE)
def test_without_offset_it_is_a_convolution(kernel):
    x, offset, modulation, weight, bias = inputs()
    got = deform_conv(x, 0 * offset, 0 * modulation + 1, weight, bias, kernel=kernel)
    torch.testing.assert_close(got, F.conv2d(x, weight, bias, padding=1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", HERE)
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
    for kernel in HERE:
        leaves = [a.clone().requires_grad_() for a in arguments]
        out = deform_conv(*leaves, kernel=kernel)
        direction = torch.randn_like(out) if direction is None else direction
        results.append([out, *torch.autograd.grad((out * direction).sum(), leaves)])
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("kernel", HERE)
def test_gradients_by_differences(kernel):
    # Offsets away from whole pixels, where bilinear sampling has a kink.
    arguments = inputs(1, 4, 2, 3, 3, torch.float64)
    arguments[1] = torch.rand_like(arguments[1]) * 0.6 + 0.2
    leaves = [a.requires_grad_() for a in arguments]
    assert torch.autograd.gradcheck(lambda *a: deform_conv(*a, kernel=kernel), leaves)


@pytest.mark.parametrize("kernel", HERE)
def test_memory_order_of_features_and_filter_does_not_matter(kernel):
    x, offset, modulation, weight, bias = inputs()
    expected = deform_conv(x, offset, modulation, weight, bias, kernel=kernel)
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    got = deform_conv(x, offset, modulation, weight, bias, kernel=kernel)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", HERE)
def test_float32_under_autocast(kernel):
    arguments = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = deform_conv(*[a.bfloat16() for a in arguments[:1]], *arguments[1:], kernel=kernel)
    expected = deform_conv(arguments[0].bfloat16().float(), *arguments[1:], kernel=kernel)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


needs_native = pytest.mark.skipif(not native.available(), reason="no C++ compiler here")


@needs_native
@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 4),
    per_group=st.sampled_from([1, 2, 4, 5]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    side=st.sampled_from([1, 3, 5]),
    scale=st.sampled_from([0.0, 0.5, 4.0, 1e6]),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_native_equals_torchvision(
    batch, groups, per_group, height, width, side, scale, channels_last, seed
):
    torch.manual_seed(seed)
    x = torch.randn(batch, groups * per_group, height, width)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    planes = groups * side * side
    offset = scale * torch.randn(batch, 2 * planes, height, width)
    modulation = torch.rand(batch, 2 * planes, height, width)[:, ::2]  # not contiguous
    weight, bias = torch.randn(3, x.shape[1], side, side), torch.randn(3)
    got, expected = (
        deform_conv(x, offset, modulation, weight, bias, kernel=kernel)
        for kernel in ("native", "torchvision")
    )
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@needs_native
def test_an_offset_that_is_no_number_stays_visible():
    x, offset, modulation, weight, bias = inputs(1)
    offset[0, 0, 3, 4] = torch.nan
    lost = deform_conv(x, offset, modulation, weight, bias, kernel="native").isnan()[0, 0]
    assert lost[3, 4]
    assert lost.sum() == 1


@needs_native
def test_operator_is_registered_as_pytorch_wants_it():
    x, offset, modulation, *_ = [a.requires_grad_() for a in inputs(height=3, width=4)]
    torch.library.opcheck(torch.ops.sali.deform_sample, (x, offset, modulation, 3))


@needs_native
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a[1][:, :-1], "offset has 71 channels; wanted 72"),
        (lambda a: a[1][:, :, :-1], "another batch or grid"),
        (lambda a: a[1].double(), "differ in type"),
    ],
)
def test_native_refusals(change, words):
    arguments = inputs()
    arguments[1] = change(arguments)
    with pytest.raises(RuntimeError, match=words):
        deform_conv(*arguments, kernel="native")


@pytest.mark.parametrize("kernel", HERE)
def test_a_bias_that_would_be_spread_over_the_picture_is_refused(kernel):
    x, offset, modulation = (
        torch.zeros(1, 2, 4, 4),
        torch.zeros(1, 18, 4, 4),
        torch.ones(1, 9, 4, 4),
    )
    with pytest.raises(ValueError, match="one number per output channel"):
        deform_conv(x, offset, modulation, torch.zeros(3, 2, 3, 3), torch.zeros(3, 1), kernel)
