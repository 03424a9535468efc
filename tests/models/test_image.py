"""Any network of single images as a video segmenter."""

import numpy as np
import pytest
import torch
from conftest import sample_of
from torch import nn

from sali.models.image import ImageSegmenter
from sali.models.nodes import instantiate
from sali.streaming import StreamSegmenter, prepare_network

UNET = {
    "_target_": "sali.models.image.ImageSegmenter",
    "net": {
        "_target_": "segmentation_models_pytorch.Unet",
        "encoder_name": "tu-tf_efficientnet_lite0",
        "encoder_weights": None,
        "classes": 1,
    },
    "pretrained": "encoder.model",
    "name": "tf_efficientnet_lite0",
    "weights": "package:efficientnet_lite0",
}


class TwoHeads(nn.Module):
    """Logits on two grids; the last is the prediction."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, images):
        logits = self.bn(self.conv(images))
        return [logits[..., ::8, ::8], logits[..., ::4, ::4]]


def test_every_frame_by_itself():
    network = ImageSegmenter(TwoHeads(), multiple=4).eval()
    frames = np.random.default_rng(0).integers(0, 255, (3, 50, 70, 3)).astype(np.uint8)
    stream = StreamSegmenter(network, 64)
    maps = [stream.step(frame) for frame in frames]
    alone = [StreamSegmenter(network, 64).step(frame) for frame in frames]
    assert stream.flush() is None and stream.attention is None
    for one, other in zip(maps, alone, strict=True):
        assert one.shape == (50, 70)
        np.testing.assert_array_equal(one, other)
    prepared = prepare_network(network, 64)
    assert not [m for m in prepared.modules() if isinstance(m, nn.BatchNorm2d)]
    np.testing.assert_allclose(StreamSegmenter(prepared, 64).step(frames[0]), maps[0], atol=1e-5)


def test_training_supervises_every_output():
    network = ImageSegmenter(TwoHeads(), multiple=4)
    logits = network(sample_of(network, current=torch.randn(2, 3, 64, 64)))
    assert [tuple(one.shape) for one in logits] == [(2, 1, 8, 8), (2, 1, 16, 16)]
    assert network.parameter_groups()["pretrained"] == [] and not network.load_pretrained()


def test_outputs_of_another_shape_are_refused():
    network = ImageSegmenter(TwoHeads(channels=2))
    with pytest.raises(ValueError, match=r"TwoHeads.*\(1, 2, .*wanted logits \[1, 1, h, w\]"):
        network.encode(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize(("side", "hint"), [(100, "96 or 128"), (16, "32 or 64")])
def test_image_sides(side, hint):
    with pytest.raises(ValueError, match=hint):
        ImageSegmenter(TwoHeads()).check_image_size(side)


def test_unet_has_the_pretrained_encoder_of_its_backbone():
    pytest.importorskip("segmentation_models_pytorch")
    network = instantiate(UNET, trust=())
    assert network.load_pretrained()
    groups = network.parameter_groups()
    inside = {id(p) for p in network.net.encoder.model.parameters()}
    assert {id(p) for p in groups["pretrained"]} == inside and groups["new"]
    logits = network(sample_of(network, current=torch.randn(2, 3, 64, 64)))
    assert [tuple(one.shape) for one in logits] == [(2, 1, 64, 64)]
    with pytest.raises(ValueError, match=r"wanted a part of Unet.*encoder"):
        instantiate({**UNET, "pretrained": "trunk"}, trust=())
