"""What a memory holds: values that see a mask, and several frames in a training sample."""

import pytest
import torch
import torch.nn.functional as F
from conftest import sample_of, small_network, small_node

from sali.models.nodes import instantiate
from sali.models.sali.memory import KeyValue, LongTermInteraction, joined


def network_with_memory(**options):
    node = small_node(align_kernel=None)
    node["long_term"].update(options)
    return instantiate(node, trust=None)


def awake(network):
    for block in network.fusion.squeeze:
        torch.nn.init.normal_(block.bn.weight)
    return network.eval()


@torch.no_grad()
def test_values_see_the_mask_and_keys_do_not():
    module = LongTermInteraction(32, 16, 16, top_k=20, mask_in_values=True)
    pyramid = [torch.randn(2, 32, side, side) for side in (8, 4, 2)]
    masks = [torch.rand(2, 1, side, side) for side in (8, 4, 2)]
    for given in (None, masks):
        for level, (key, value) in enumerate(module.project(pyramid, given)):
            x = pyramid[level]
            mask = torch.zeros_like(x[:, :1]) if given is None else masks[level]
            conv = module.to_value[level]
            expected = F.conv2d(torch.cat([x, mask], 1), conv.weight, conv.bias, padding=1)
            torch.testing.assert_close(value, expected.flatten(2))
            conv = module.to_key[level]
            expected = F.conv2d(x, conv.weight, conv.bias, padding=1)
            torch.testing.assert_close(key, expected.flatten(2))
            assert key.shape[1] == 16


def test_joined_frames_are_one_memory():
    one, two = ([KeyValue(torch.randn(1, 4, n), torch.randn(1, 2, n))] for n in (3, 5))
    ((key, value),) = joined([one, two])
    torch.testing.assert_close(key[:, :, 3:], two[0].key)
    torch.testing.assert_close(value[:, :, :3], one[0].value)


def test_roles_name_every_memory_frame():
    assert network_with_memory(num_frames=3).roles == ("memory", "memory2", "memory3", "current")
    assert network_with_memory().roles == ("memory", "current")
    with pytest.raises(ValueError, match="num_frames: got 0"):
        network_with_memory(num_frames=0)


@torch.no_grad()
def test_a_memory_frame_given_thrice_reads_like_one_given_once():
    """Each of its elements is there three times: with three times the top k, the same readout."""
    one = awake(network_with_memory(top_k=10))
    three = network_with_memory(top_k=30, num_frames=3).eval()
    three.load_state_dict(one.state_dict())
    frames = dict.fromkeys(("memory", "memory2", "memory3"), torch.randn(1, 3, 256, 256))
    frames["current"] = torch.randn(1, 3, 256, 256)
    mask = (torch.rand(1, 1, 256, 256) > 0.5).float()
    expected, got = (network(sample_of(network, mask, **frames))[-1] for network in (one, three))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    frames["memory2"] = torch.randn(1, 3, 256, 256)
    assert (three(sample_of(three, mask, **frames))[-1] - got).abs().max() > 1e-4


@pytest.mark.parametrize("mask_in_values", [False, True])
@torch.no_grad()
def test_stream_reads_what_the_training_pass_would(mask_in_values):
    """Two stored frames read by a third: the training pass of the same frames.

    The true masks of a training sample take the place of the stream's own logits, so a mask whose
    every value is the same makes both weigh the values alike.
    """
    network = awake(network_with_memory(num_frames=2, mask_in_values=mask_in_values))
    flat = 0.25
    logit = torch.logit(torch.tensor(flat))
    images = [torch.randn(1, 3, 256, 256) for _ in range(3)]
    video = network.start(every=1)
    decode = network.decoder.forward

    def flat_where_stored(pyramid):
        sides = decode(pyramid)
        return sides if video.num_frames == 2 else type(sides)(*[0 * s + logit for s in sides])

    network.decoder.forward = flat_where_stored
    got = [video.step(network.encode(image)) for image in images][-1]
    network.decoder.forward = decode
    mask = torch.full((1, 1, 256, 256), flat)
    sample = sample_of(network, mask, memory=images[0], memory2=images[1], current=images[2])
    torch.testing.assert_close(got, network(sample)[-1], atol=1e-4, rtol=1e-4)


def test_options_off_are_the_network_of_before():
    own = {n: p.shape for n, p in small_network(align_kernel=None).named_parameters()}
    rich = network_with_memory(num_frames=3, mask_in_values=True, key_channels=16)
    changed = {n for n, p in rich.named_parameters() if own[n] != p.shape}
    assert changed == {
        *(f"long_term.to_value.{level}.weight" for level in range(3)),
        *(f"long_term.to_key.{level}.{what}" for level in range(3) for what in ("weight", "bias")),
    }
