"""The neighbor's own probability, moved with its features and seen by the fusion."""

import numpy as np
import pytest
import torch
from conftest import sample_of, small_network, small_node

from sali.models.nodes import instantiate
from sali.models.sali.alignment import Taps, carry
from sali.ops import KERNELS
from sali.streaming import StreamSegmenter

OPTIONS = {"image_size": 256, "max_frames": 2, "every": 1}


def network_with_probability(**changes):
    node = small_node(**changes)
    node["short_term"]["probability"] = True
    return instantiate(node, trust=None)


def awake(network):
    """All branches matter to the result."""
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "to_offset" in name or (name.startswith("fusion") and "bn" in name):
                tensor.normal_(0, 0.3)
    return network.eval()


@pytest.fixture(scope="module")
def clip():
    return list(np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3)).astype(np.uint8))


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_carrying_is_a_weighted_mean_of_bilinear_samples(kernel):
    generator = torch.Generator().manual_seed(0)
    groups, side = 2, 6
    image = torch.rand(1, 1, side, side, generator=generator)
    offset = 2 * torch.randn(1, groups * 18, side, side, generator=generator)
    modulation = torch.rand(1, groups * 9, side, side, generator=generator)
    got = carry(image, Taps(offset, modulation), kernel)

    def at(y, x):
        """Bilinear, zero outside."""
        total, (y0, x0) = 0.0, (int(np.floor(y)), int(np.floor(x)))
        for row, column in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
            if 0 <= row < side and 0 <= column < side:
                total += (
                    (1 - abs(y - row)) * (1 - abs(x - column)) * float(image[0, 0, row, column])
                )
        return total

    for i in range(side):
        for j in range(side):
            mean = weights = 0.0
            for group in range(groups):
                for tap in range(9):
                    dy, dx = offset[
                        0, 18 * group + 2 * tap : 18 * group + 2 * tap + 2, i, j
                    ].tolist()
                    weight = float(modulation[0, 9 * group + tap, i, j])
                    mean += weight * at(i + tap // 3 - 1 + dy, j + tap % 3 - 1 + dx)
                    weights += weight
            assert float(got[0, 0, i, j]) == pytest.approx(mean / weights, abs=1e-4)
    assert got.min() >= 0 and got.max() <= 1


def test_offsets_move_the_probability_to_where_the_features_go():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 2:5, 2:5] = 1
    offset = torch.zeros(1, 18, 8, 8)
    offset[:, 1::2] = -3.0  # read three pixels to the left
    modulation = torch.zeros(1, 9, 8, 8)
    modulation[:, 4] = 0.5  # the centre tap only
    moved = carry(image, Taps(offset, modulation), "grid_sample")
    torch.testing.assert_close(moved, image.roll(3, 3), atol=1e-5, rtol=0)


def test_off_by_default_and_without_parameters_of_its_own_but_the_input():
    plain, with_it = small_network(), network_with_probability()
    own = {n: p.shape for n, p in plain.named_parameters()}
    changed = {n for n, p in with_it.named_parameters() if own[n] != p.shape}
    assert changed == {f"fusion.squeeze.{level}.conv.weight" for level in range(3)}
    assert not plain.uses_probability and with_it.uses_probability
    segmenter = StreamSegmenter(plain.eval(), **OPTIONS)
    segmenter.step(np.zeros((64, 64, 3), np.uint8))
    assert segmenter.state()["video"]["probability"] is None


@pytest.mark.parametrize("neighbor", ["previous", "next"])
@torch.no_grad()
def test_stream_is_the_training_pass_with_the_probability_that_is_known(clip, neighbor):
    """Frame by frame, with the memory switched off, and the known probability given by hand."""
    network = awake(network_with_probability(long_term=False, fusion="gated"))
    segmenter = StreamSegmenter(network, 256, neighbor=neighbor)
    images = [torch.randn(1, 3, 256, 256) for _ in clip]
    features = [network.encode(image) for image in images]
    video = network.start(neighbor=neighbor)
    got = [video.step(f) for f in features] + [video.flush()]
    got = [logits for logits in got if logits is not None]
    assert len(got) == len(clip) and segmenter is not None

    known = None
    for t, logits in enumerate(got):
        other = max(t - 1, 0) if neighbor == "previous" else t + 1
        if other == len(clip):
            other = t - 1  # the last frame's neighbor is the one before, whose result is known
        elif neighbor == "next":
            known = None
        if known is None:  # then it is the training pass itself
            expected = network(sample_of(network, current=images[t], neighbor=images[other]))[-1]
        else:
            expected = network.segment(features[t], features[other], probability=known)[0].level1
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        known = logits.sigmoid()


@torch.no_grad()
def test_the_probability_matters_and_has_no_gradient_to_its_source(clip):
    network = awake(network_with_probability())
    features = [network.encode(torch.randn(1, 3, 256, 256)) for _ in range(2)]
    query = network.long_term.project(features[0])
    one, other = (
        network.segment(*features, query, query, torch.full((1, 1, 32, 32), p))[0].level1
        for p in (0.0, 1.0)
    )
    assert (one - other).abs().max() > 1e-4
    with pytest.raises(ValueError, match="neighbor's probability"):
        network.segment(*features, query, query)
    with torch.enable_grad():
        assert not network.probability_of(network.encode(torch.randn(1, 3, 256, 256))).requires_grad


def test_state_holds_the_probability(clip):
    network = awake(network_with_probability(fusion="gated"))
    whole = StreamSegmenter(network, **OPTIONS)
    maps = [whole.step(frame) for frame in clip]
    first = StreamSegmenter(network, **OPTIONS)
    for frame in clip[:2]:
        first.step(frame)
    resumed = StreamSegmenter(network, **OPTIONS)
    resumed.load_state(first.state())
    for frame, expected in zip(clip[2:], maps[2:], strict=True):
        np.testing.assert_array_equal(resumed.step(frame), expected)
