"""The released way against the released code's numbers, and ours against the released way."""

import numpy as np
import pytest
import torch
from conftest import small_network

from benchmarks.released_way import (
    ReleasedStream,
    align,
    dense_read,
    fuse,
    training_heads,
    training_loss,
)
from sali.data.samples import to_tensor
from sali.losses import StructureLoss
from sali.models.blocks import resize
from sali.models.checkpoint import read_checkpoint
from sali.models.contract import ClipBatch
from sali.ops import memory_read
from sali.streaming import StreamSegmenter


def golden_weights(path):
    checkpoint = read_checkpoint(path)
    checkpoint.model["backbone"]["drop_path_rate"] = 0.0
    return checkpoint.network()


def woken_network(**changes):
    """A small released network whose video branch matters to the result."""
    network = small_network(fusion="released", **changes)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "to_offset" in name or "attend" in name:
                parameter.normal_(0, 0.05)
    return network


@pytest.mark.slow
def test_streaming_gives_released_logits(released_checkpoint, golden_network):
    golden = golden_network
    network = golden_weights(released_checkpoint)
    stream = ReleasedStream(network, 256, int(golden["mem_len"]), int(golden["mem_freq"]))
    images = [to_tensor(frame).unsqueeze(0) for frame in golden["frames"][:4]]
    for t in range(3):
        got = stream.probability(images[t], images[t + 1], (256, 256))[::4, ::4]
        expected = 1 / (1 + np.exp(-golden["final_logits"][t]))
        np.testing.assert_allclose(got, expected, atol=1e-3)
        np.testing.assert_array_equal(stream.bank.sizes, golden["bank_sizes"][t])


@pytest.mark.slow
def test_training_gives_released_heads_and_losses(released_checkpoint, golden_network):
    golden = golden_network
    network = golden_weights(released_checkpoint).train()
    memory, current, neighbor = (
        torch.stack([to_tensor(image) for image in images]) for images in golden["train_images"]
    )
    mask_memory, mask = (
        torch.from_numpy(golden[name] > 127).float().unsqueeze(1)
        for name in ("train_gt_memory", "train_gt")
    )
    with torch.no_grad():
        heads = training_heads(network, current, memory, mask_memory, neighbor)
    for h, head in enumerate(heads):
        np.testing.assert_allclose(head[:, 0, ::4, ::4], golden[f"train_head_{h}"], atol=1e-3)
    loss = training_loss(heads, mask).item()
    assert loss == pytest.approx(golden["train_loss_released"].sum(), abs=4e-4)


def test_our_stream_gives_the_maps_of_the_released_way():
    network = woken_network().eval()
    rng = np.random.default_rng(0)
    frames = [np.asarray(f) for f in rng.integers(0, 255, (8, 90, 110, 3)).astype(np.uint8)]
    released = ReleasedStream(network, 256, max_frames=2, every=2)
    ours = StreamSegmenter(
        network, image_size=256, max_frames=2, every=2, eviction="released", neighbor="next"
    )
    maps = [ours.step(frame) for frame in frames][1:]
    for t, probability in enumerate(maps):  # the bank is full, and evicts, from frame 4 on
        expected = released.step(frames[t], frames[t + 1]) / 255
        low, high = probability.min(), probability.max()
        assert high - low > 0.01
        stretched = (probability - low) / (high - low)
        np.testing.assert_allclose(expected, stretched, atol=1 / 255 + 1e-3)


def test_dense_read_is_our_read():
    query, key = torch.randn(2, 4, 50), torch.randn(2, 4, 70)
    value = torch.randn(2, 6, 70)
    for k in (20, 100):
        for got, expected in zip(
            dense_read(query, key, value, k), memory_read(query, key, value, k), strict=True
        ):
            torch.testing.assert_close(got, expected)


def test_alignment_and_fusion_give_released_numbers(golden_modules):
    from benchmarks.golden import fill_part
    from sali.models.sali.alignment import ShortTermAlignment
    from sali.models.sali.fusion import Fusion

    golden = {name: torch.from_numpy(array) for name, array in golden_modules.items()}

    def pyramid(name):
        return [golden[f"{name}_{level}"] for level in range(3)]

    module = fill_part(ShortTermAlignment(32, 8, "torchvision"), "pcd_align.", "short_term.")
    fusion = fill_part(Fusion(32, residual=False), "nlnet.", "fusion.")
    with torch.no_grad():
        aligned = align(module, pyramid("align_neighbour"), pyramid("align_reference"))
        fused = fuse(fusion, pyramid("fuse_a"), pyramid("fuse_b"))
    for got, expected in zip(
        aligned + fused, pyramid("align_out") + pyramid("fuse_out"), strict=True
    ):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_training_step_is_ours():
    network = woken_network(backbone="pvt_v2_b0").train()
    assert network.roles == ("memory", "current", "neighbor")
    sample = ClipBatch(
        torch.randn(2, 3, 3, 256, 256), (torch.rand(2, 3, 1, 256, 256) > 0.7).float()
    )
    memory, current, neighbor = sample.frames.unbind(1)
    memory_mask, mask, _ = sample.masks.unbind(1)
    released = training_loss(training_heads(network, current, memory, memory_mask, neighbor), mask)
    logits = [resize(head, size=(256, 256)) for head in network(sample)]
    ours = StructureLoss("released")(logits, mask)
    assert ours.item() == pytest.approx(released.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "residual"}, "needs 'released'"),
        ({"fusion": "released", "align_kernel": None}, "without a memory or an alignment"),
    ],
)
def test_networks_that_lack_a_part_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ReleasedStream(small_network(**changes), 256, 2, 2)
