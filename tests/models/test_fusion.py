"""The gated fusion: a lean per pixel between the current frame and the video branch."""

import pytest
import torch
from conftest import sample_of, small_network

from sali.models.sali.fusion import Fusion, GatedFusion

GRIDS = (16, 8, 8)


def pyramid(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 32, side, side, generator=generator) for side in GRIDS]


def awake(fusion, bias):
    """Video branch with weights, and a gate that says the same everywhere."""
    for block, gate in zip(fusion.squeeze, fusion.gate, strict=True):
        torch.nn.init.normal_(block.bn.weight)
        torch.nn.init.constant_(gate[-1].bias, bias)
    return fusion.eval()


@pytest.mark.parametrize(
    ("bias", "of_current", "of_video"),
    [(0.0, 1, 1), (30.0, 0, 1), (-30.0, 1, 0), (0.5, 1 - 0.46211716, 1), (-0.5, 1, 1 - 0.46211716)],
)
@torch.no_grad()
def test_weights_of_current_frame_and_video_branch(bias, of_current, of_video):
    fusion = awake(GatedFusion(32), bias)
    a, b, current = (pyramid(seed) for seed in range(3))
    video_only = Fusion(32, residual=False)
    video_only.load_state_dict(fusion.state_dict(), strict=False)
    video = video_only.eval()(a, b, current)
    for got, x, y in zip(fusion(a, b, current), current, video, strict=True):
        assert y.abs().max() > 0.1
        torch.testing.assert_close(got, of_current * x + of_video * y, atol=1e-5, rtol=1e-5)


def test_the_gate_is_a_map_of_what_it_sees():
    """By hand: the mean of the pixel's own current features, through the centre taps."""
    fusion = awake(GatedFusion(32), 0.0)
    for gate in fusion.gate:
        torch.nn.init.zeros_(gate[0].weight), torch.nn.init.zeros_(gate[0].bias)
        gate[0].weight.data[0, :32, 1, 1] = 1 / 32
        gate[-1].weight.data[0, 0] = 2
    a, b, current = (pyramid(seed) for seed in range(3))
    ungated = awake(GatedFusion(32), 0.0)
    ungated.load_state_dict(
        {k: v for k, v in fusion.state_dict().items() if "gate" not in k}, strict=False
    )
    with torch.no_grad():
        for got, both, x in zip(
            fusion(a, b, current), ungated(a, b, current), current, strict=True
        ):
            lean = torch.tanh(2 * x.mean(1, keepdim=True).relu())
            torch.testing.assert_close(got, both - lean * x, atol=1e-5, rtol=1e-5)


def test_gate_and_video_branch_learn_from_their_start():
    network = small_network(fusion="gated").train()
    frames = {role: torch.randn(2, 3, 256, 256) for role in network.roles}
    mask = (torch.rand(2, 1, 256, 256) > 0.5).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        logits = network(sample_of(network, mask, **frames))[-1]
        logits.mean().backward()
        assert all(b.bn.weight.grad.abs().sum() > 0 for b in network.fusion.squeeze)
        assert all(g[-1].weight.grad.abs().sum() > 0 for g in network.fusion.gate)
        optimizer.step()
    assert all(g[0].weight.grad.abs().sum() > 0 for g in network.fusion.gate)
