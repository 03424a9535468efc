"""Depthwise convolutions with gradients in float32, against PyTorch's own in float32."""

import copy

import pytest
import torch
from hydra import compose, initialize_config_dir
from timm.layers import Conv2dSame
from torch import nn

from sali.build import build_network
from sali.config import config_dir
from sali.ops import use_fast_depthwise
from sali.ops.depthwise import DepthwiseConv2d, DepthwiseConv2dSame


def depthwise(bias=False, layer=nn.Conv2d, **options):
    return layer(12, 12, 5, padding=2, groups=12, bias=bias, **options)


def gradients(conv, x, upstream):
    """Return the result, and the gradients of the input and of all parameters."""
    x = x.clone().requires_grad_()
    y = conv(x)
    y.backward(upstream.to(y.dtype))
    return y.detach(), [x.grad, *(p.grad for p in conv.parameters())]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2}, {"dilation": 2}, {"layer": Conv2dSame}, {"layer": Conv2dSame, "stride": 2}],
)
def test_bfloat16_gradients_are_those_of_float32(bias, options):
    plain = depthwise(bias, **options)
    fast = copy.deepcopy(plain)
    assert use_fast_depthwise(fast) == 1
    # Numbers that bfloat16 holds exactly, so that only the computation can differ.
    x = torch.randn(2, 12, 17, 19).bfloat16().float()
    plain.weight.data = plain.weight.data.bfloat16().float()
    fast.load_state_dict(plain.state_dict())
    upstream = torch.randn_like(plain(x)).bfloat16().float()
    _, expected = gradients(plain, x, upstream)
    with torch.autocast("cpu", torch.bfloat16):
        as_torch = copy.deepcopy(plain)(x)
        y, (of_x, of_weight, *of_bias) = gradients(fast, x, upstream)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, as_torch, rtol=2**-7, atol=2**-7)
    # One step of bfloat16, in which autocast hands it on.
    torch.testing.assert_close(of_x, expected[0], rtol=2**-8, atol=1e-6)
    torch.testing.assert_close(of_weight, expected[1])
    assert len(of_bias) == bias


def test_nothing_changes_in_float32():
    plain = depthwise(bias=True)
    fast = copy.deepcopy(plain)
    use_fast_depthwise(fast)
    x, upstream = torch.randn(2, 12, 9, 9), torch.randn(2, 12, 9, 9)
    y, own = gradients(fast, x, upstream)
    expected_y, expected = gradients(plain, x, upstream)
    assert torch.equal(y, expected_y)
    assert all(map(torch.equal, own, expected))


def test_a_frozen_layer_passes_the_gradient_on():
    fast = depthwise().requires_grad_(False)
    use_fast_depthwise(fast)
    x = torch.randn(1, 12, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        fast(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert fast.weight.grad is None


def test_only_plain_depthwise_layers_are_changed():
    class Own(nn.Conv2d):
        pass

    network = nn.Sequential(
        depthwise(),
        nn.Conv2d(12, 12, 3),
        nn.Conv2d(12, 12, 3, groups=3),
        nn.Conv2d(1, 4, 3),
        nn.Conv2d(12, 12, 3, padding=1, groups=12, padding_mode="reflect"),
        nn.Conv2d(12, 12, 3, padding="same", groups=12),
        Own(12, 12, 3, groups=12),
    )
    before = copy.deepcopy(network.state_dict())
    assert use_fast_depthwise(network) == 1
    assert [type(m) for m in network] == [DepthwiseConv2d, *[nn.Conv2d] * 5, Own]
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_every_depthwise_layer_of_a_trained_encoder_is_changed(tmp_path):
    given = ["backbone=efficientnet_lite0", f"paths.output_dir={tmp_path}"]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        network = build_network(compose("train", overrides=[*given, "backbone.weights=null"]))
    layers = [m for m in network.backbone.modules() if getattr(m, "groups", 1) > 1]
    assert len(layers) == 16
    assert {type(m) for m in layers} == {DepthwiseConv2d, DepthwiseConv2dSame}


def test_a_copy_has_weights_of_its_own():
    network = nn.Sequential(depthwise())
    use_fast_depthwise(network)
    average = copy.deepcopy(network)
    average[0].weight.data.zero_()
    x = torch.randn(1, 12, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert average(x).abs().sum() == 0
        assert network(x).abs().sum() > 0
