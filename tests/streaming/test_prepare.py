"""Prepared networks compute what the trained ones do."""

import copy

import numpy as np
import pytest
import torch
from conftest import small_network
from torch import nn

from sali.streaming import StreamSegmenter, prepare_network

OPTIONS = {"image_size": 256, "max_frames": 2, "every": 1, "eviction": "least_used"}


def with_statistics(network):
    """Batch norms that do something, as after training."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -0.2), (module.running_var, 0.6)):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.4 + low)
            with torch.no_grad():
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
    return network.eval()


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)


@pytest.mark.parametrize("backbone", ["pvt_v2_b0", "tf_efficientnet_lite0", "resnet10t"])
def test_same_maps_without_batch_norms(backbone, frames):
    network = with_statistics(small_network(backbone=backbone, fusion="released"))
    prepared = prepare_network(copy.deepcopy(network), 256)
    assert not [m for m in prepared.modules() if isinstance(m, nn.BatchNorm2d)]
    streams = [StreamSegmenter(n, neighbor="previous", **OPTIONS) for n in (network, prepared)]
    for frame in frames:
        one, other = (stream.step(frame) for stream in streams)
        assert one.std() > 0
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_convolution_that_is_used_twice_is_left_alone():
    network = with_statistics(small_network())

    class Twice(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.conv, self.bn = block.conv, block.bn

        def forward(self, x):
            y = self.conv(x)
            return self.bn(y) + y

    network.decoder.coarse.smooth = Twice(network.decoder.coarse.smooth)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    with pytest.warns(UserWarning, match="left as they are"):
        prepare_network(network, 256)
    assert [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)] == norms


@pytest.mark.filterwarnings("error:batch norms")
def test_converted_weights_are_what_autocast_makes(frames):
    network = with_statistics(small_network())
    plain, prepared = (
        prepare_network(copy.deepcopy(network), 256),
        prepare_network(network, 256, "bf16"),
    )
    streams = [
        StreamSegmenter(n, neighbor="previous", precision="bf16", **OPTIONS)
        for n in (plain, prepared)
    ]
    for frame in frames[:2]:
        one, other = (stream.step(frame) for stream in streams)
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("error:batch norms")
def test_compiled_network_gives_the_same_maps(frames):
    network = with_statistics(small_network())
    streams = [
        StreamSegmenter(
            prepare_network(copy.deepcopy(network), 256, compile_network=c),
            neighbor="previous",
            **OPTIONS,
        )
        for c in (False, True)
    ]
    for frame in frames[:3]:
        one, other = (stream.step(frame) for stream in streams)
        np.testing.assert_allclose(one, other, atol=1e-3)
