"""Switches of the network, and what it refuses."""

import pytest
import torch
from conftest import small_network

from sali.models.sali.network import check_side

OFF = {"long_term": False, "align_kernel": None}


def frames(count, batch=1, size=256):
    return [torch.randn(batch, 3, size, size) for _ in range(count)]


@pytest.mark.parametrize(
    ("switches", "roles", "absent"),
    [
        ({}, ("memory", "current", "neighbor"), ()),
        ({"long_term": False}, ("current", "neighbor"), ("long_term",)),
        ({"align_kernel": None}, ("memory", "current"), ("short_term",)),
        (OFF, ("current",), ("long_term", "short_term", "fusion")),
    ],
)
@pytest.mark.parametrize("fusion", ["released", "residual"])
def test_parts_switch_off(switches, roles, absent, fusion):
    network = small_network(**switches, fusion=fusion).eval()
    assert network.roles == roles
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert not names & set(absent)
    given = dict(zip(roles, frames(len(roles)), strict=True))
    mask = torch.ones(1, 1, 256, 256) if "memory" in roles else None
    with torch.no_grad():
        logits = network(given["current"], given.get("memory"), mask, given.get("neighbor"))
    assert [tuple(side.shape[2:]) for side in logits] == [(32, 32), (8, 8), (16, 16), (32, 32)]


@pytest.mark.parametrize("training", [False, True])
def test_residual_network_starts_as_its_single_frame_self(training):
    full = small_network()
    single = small_network(**OFF)
    single.load_state_dict(full.state_dict(), strict=False)
    full.train(training), single.train(training)
    memory, current, neighbor = frames(3, batch=2)
    mask = (torch.rand(2, 1, 256, 256) > 0.5).float()
    with torch.no_grad():
        features = full.encode(current)
        alone = single.decoder(features)
        fused, _ = full.segment(
            features,
            full.encode(neighbor),
            full.long_term.project(features),
            full.long_term.project(full.encode(memory)),
        )
    assert mask.any()
    for one, other in zip(alone, fused, strict=True):
        torch.testing.assert_close(one, other)


def test_video_branch_learns_from_its_zero_start():
    network = small_network()
    network.train()
    memory, current, neighbor = frames(3, batch=2)
    mask = (torch.rand(2, 1, 256, 256) > 0.5).float()
    network(current, memory, mask, neighbor).level1.mean().backward()
    assert network.fusion.squeeze[0].bn.weight.grad.abs().sum() > 0


def test_context_without_gradient_gives_the_same_numbers_and_fewer_gradients():
    network = small_network().eval()
    given = [x.requires_grad_() for x in frames(3)]
    memory, current, neighbor = given
    mask = (torch.rand(1, 1, 256, 256) > 0.5).float()
    torch.nn.init.ones_(network.fusion.squeeze[0].bn.weight)
    joint = network(current, memory, mask, neighbor)
    cut = network(current, memory, mask, neighbor, context_gradient=False)
    for one, other in zip(joint, cut, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    gradients = torch.autograd.grad(cut.level1.sum(), given, allow_unused=True)
    assert [g is not None for g in gradients] == [False, True, False]


def test_any_timm_backbone_with_the_three_strides():
    network = small_network(backbone="resnet18", **OFF).eval()
    assert network.backbone.channels == [128, 256, 512]
    with torch.no_grad():
        assert network(torch.randn(1, 3, 256, 320)).level1.shape == (1, 1, 32, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "pvt_v2_b9"}, "no model 'pvt_v2_b9'.*pvt_v2_b0"),
        ({"backbone": "vit_tiny_patch16_224"}, "strides"),
        ({"fusion": "sum"}, "'released' nor 'residual'"),
        ({"align_kernel": "cuda"}, "grid_sample"),
        ({"value_channels": 8}, "set it to 16"),
        ({"channels": 48, "value_channels": 24}, "multiple of 32"),
    ],
)
def test_choices_that_do_not_exist_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small_network(**changes)


@pytest.mark.parametrize(("side", "hint"), [(300, "288 or 320"), (224, "256 or 288")])
def test_image_sides(side, hint):
    with pytest.raises(ValueError, match=hint):
        check_side(side)
    check_side(352)


def test_missing_frames_are_refused():
    network = small_network().eval()
    (image,) = frames(1)
    with pytest.raises(ValueError, match="needs memory"):
        network(image, neighbor=image)
    with pytest.raises(ValueError, match="needs a neighbor"):
        network(image, image, torch.ones(1, 1, 256, 256))
