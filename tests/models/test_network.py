"""Switches of the network, and what it refuses."""

import pytest
import torch
from conftest import sample_of, small_network, small_node

from sali.models.nodes import instantiate

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
@pytest.mark.parametrize("fusion", ["released", "residual", "gated"])
def test_parts_switch_off(switches, roles, absent, fusion):
    network = small_network(**switches, fusion=fusion).eval()
    assert network.roles == roles
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert not names & set(absent)
    given = dict(zip(roles, frames(len(roles)), strict=True))
    with torch.no_grad():
        logits = network(sample_of(network, **given))
    assert [tuple(side.shape[2:]) for side in logits] == [(32, 32), (8, 8), (16, 16), (32, 32)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fusion", ["residual", "gated"])
def test_network_starts_as_its_single_frame_self(training, fusion):
    full = small_network(fusion=fusion)
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
    sample = sample_of(network, mask, memory=memory, current=current, neighbor=neighbor)
    network(sample)[-1].mean().backward()
    assert network.fusion.squeeze[0].bn.weight.grad.abs().sum() > 0


def test_context_without_gradient_gives_the_same_numbers_and_fewer_gradients():
    network = small_network().eval()
    given = [x.requires_grad_() for x in frames(3)]
    memory, current, neighbor = given
    mask = (torch.rand(1, 1, 256, 256) > 0.5).float()
    torch.nn.init.ones_(network.fusion.squeeze[0].bn.weight)
    sample = sample_of(network, mask, memory=memory, current=current, neighbor=neighbor)
    joint = network(sample)
    network.context_gradient = False
    cut = network(sample)
    for one, other in zip(joint, cut, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    gradients = torch.autograd.grad(cut[-1].sum(), given)
    assert [bool(gradient.any()) for gradient in gradients] == [False, True, False]


def test_any_timm_backbone_with_the_three_strides():
    network = small_network(backbone="resnet18", **OFF).eval()
    assert network.backbone.channels == [128, 256, 512]
    with torch.no_grad():
        logits = network(sample_of(network, current=torch.randn(1, 3, 256, 320)))
    assert logits[-1].shape == (1, 1, 32, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "pvt_v2_b9"}, "no model 'pvt_v2_b9'.*pvt_v2_b0"),
        ({"backbone": "vit_tiny_patch16_224"}, "strides"),
        ({"fusion": "sum"}, "fusion: got 'sum', wanted one of .*'gated'"),
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
    network = small_network(**OFF)
    with pytest.raises(ValueError, match=hint):
        network.check_image_size(side)
    network.check_image_size(352)


def test_samples_of_other_frames_are_refused():
    network = small_network().eval()
    (image,) = frames(1)
    with pytest.raises(ValueError, match="wanted .*memory, current, neighbor"):
        network(sample_of(network, current=image, neighbor=image))


def test_a_memory_without_its_bank_is_refused():
    node = small_node()
    with pytest.raises(ValueError, match="both or neither"):
        instantiate({**node, "bank": None}, trust=None)


def test_groups_hold_every_parameter_once():
    network = small_network()
    groups = network.parameter_groups()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    inside = [names[id(p)].startswith("backbone.") for p in groups["pretrained"]]
    assert all(inside) and len(groups["pretrained"]) + len(groups["new"]) == len(names)
    assert not any(names[id(p)].startswith("backbone.") for p in groups["new"])
