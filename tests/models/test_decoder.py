"""Layers of the decoder that are computed as one in a stream."""

import torch

from sali.models.sali.decoder import NeighborConnectionDecoder


@torch.no_grad()
def test_merged_layers_give_the_same_logits_up_to_the_border():
    decoder = NeighborConnectionDecoder(32).eval()
    for module in decoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(tensor)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    pyramid = [torch.randn(2, 32, side, side) for side in (16, 8, 4)]
    expected = decoder(pyramid)
    decoder.merge_layers()
    error = (decoder(pyramid) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5
    assert sum(p.numel() for p in decoder.smooth.parameters()) < 100
