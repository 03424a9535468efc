"""The whole network against the released code's numbers, streaming and training."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import GOLDEN

from sali.data.samples import to_tensor
from sali.losses import boundary_weight, structure_loss
from sali.models.blocks import resize
from sali.models.checkpoint import read_checkpoint
from sali.models.contract import ClipBatch
from sali.models.sali.released import rename_released
from sali.ops import read
from sali.streaming import StreamSegmenter

NEAR_TIE = 2e-6


@pytest.fixture(scope="module")
def network(released_checkpoint):
    checkpoint = read_checkpoint(released_checkpoint)
    checkpoint.model["backbone"]["drop_path_rate"] = 0.0
    return checkpoint.network()


def upsampled(logits):
    """Return side logits at the images' size."""
    return [resize(one, size=(256, 256)) for one in logits]


class TieBreaker:
    """Similarity whose near-ties at the edge of the top 20 can be decided the other way.

    The golden numbers come from another machine. Where the 20th and 21st element of a query differ
    by less than rounding, either may be read, and the logits move by up to 2e-3: both are right, so
    the test looks for the choice that the golden run made and then holds it to 1e-3.
    """

    def __init__(self, similarity: Callable[..., torch.Tensor]) -> None:
        self.similarity = similarity
        self.swapped: set[tuple[int, int]] = set()  # (number of the read, query)
        self.ties: list[tuple[int, int]] = []
        self.reads = 0

    def restart(self) -> None:
        self.ties, self.reads = [], 0

    def __call__(self, query_key: torch.Tensor, memory_key: torch.Tensor) -> torch.Tensor:
        result = self.similarity(query_key, memory_key)
        if result.shape[2] > 20:
            best, index = result.topk(21, dim=2)
            edge = (best[0, :, 19] - best[0, :, 20]) < NEAR_TIE
            for q in edge.nonzero()[:, 0].tolist():
                self.ties.append((self.reads, q))
                if (self.reads, q) in self.swapped:
                    result[0, q, index[0, q, 19:]] = best[0, q, 19:].flip(0)
                    result[0, q, index[0, q, 20]] += NEAR_TIE
        self.reads += 1
        return result


def stream(network, golden, encoded, last=None):
    """Side logits, maps and bank sizes of the golden frames; each is encoded once ever.

    Up to the frame of number `last` only, if it is given.
    """
    sides, maps, sizes, start = [], [], [], 0
    decode, encode = network.decoder.forward, network.encode

    def encode_once(image):
        key = image.numpy().tobytes()
        if key not in encoded:
            encoded[key] = encode(image)
        return encoded[key]

    def decode_and_keep(pyramid):
        sides.append(decode(pyramid))
        return sides[-1]

    segmenter = StreamSegmenter(
        network,
        image_size=256,
        max_frames=int(golden["mem_len"]),
        every=int(golden["mem_freq"]),
        eviction="released",
        neighbor="next",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network.decoder, "forward", decode_and_keep)
        patch.setattr(network, "encode", encode_once)
        for length in golden["clip_lengths"]:
            segmenter.reset()
            for i, frame in enumerate(golden["frames"][start : start + length]):
                result = segmenter.step(frame)
                if last is not None and len(sides) > last:
                    return sides, maps, sizes
                assert (result is None) == (i == 0)  # looks one frame ahead
                if result is not None:
                    maps.append(result)
                    sizes.append(segmenter.video.bank.sizes)
            maps.append(segmenter.flush())
            sizes.append(segmenter.video.bank.sizes)
            assert segmenter.flush() is None
            start += length
    return sides, maps, sizes


def test_streaming_gives_released_logits_and_bank_sizes(network, golden_network, monkeypatch):
    golden, encoded = golden_network, {}
    ties = TieBreaker(read.similarity)
    monkeypatch.setattr(read, "similarity", ties)
    monkeypatch.setattr(read.native, "available", lambda: False)  # would not ask for similarities

    def differences(last=None):
        ties.restart()
        sides, maps, sizes = stream(network, golden, encoded, last)
        last_heads = [upsampled(s)[3][0, 0, ::4, ::4].numpy() for s in sides]
        expected = golden["final_logits"][: len(sides) if last is not None else None]
        worst = [np.abs(h - g).max() for h, g in zip(last_heads, expected, strict=True)]
        return worst, sides, maps, sizes

    worst, sides, maps, sizes = differences()
    for _ in range(8):
        bad = next((t for t, w in enumerate(worst) if w > 1e-3), None)
        if bad is None:
            break
        least = worst[bad]
        for tie in [tie for tie in ties.ties if tie[0] // 3 == bad]:
            ties.swapped ^= {tie}
            if (changed := differences(last=bad)[0][bad]) < least:
                least = changed
            else:
                ties.swapped ^= {tie}
        worst, sides, maps, sizes = differences()
    assert max(worst) <= 1e-3, f"swapped {sorted(ties.swapped)}"

    np.testing.assert_array_equal(sizes, golden["bank_sizes"])
    for t, probability in enumerate(maps):
        expected = 1 / (1 + np.exp(-golden["final_logits"][t]))
        np.testing.assert_allclose(probability[::4, ::4], expected, atol=1e-3)
    for t in (0, 1, 13):
        for h, head in enumerate(upsampled(sides[t])):
            np.testing.assert_allclose(
                head[0, 0, ::4, ::4].numpy(), golden[f"heads_{t}_{h}"], atol=1e-3
            )


def test_training_pass_gives_released_heads_losses_and_gradients(network, golden_network):
    golden = golden_network
    memory, current, neighbor = (
        torch.stack([to_tensor(image) for image in images]) for images in golden["train_images"]
    )
    mask_memory, mask = (
        torch.from_numpy(golden[name] > 127).float().unsqueeze(1)
        for name in ("train_gt_memory", "train_gt")
    )
    network.train()
    try:
        frames = torch.stack([memory, current, neighbor], 1)
        masks = torch.stack([mask_memory, mask, torch.zeros_like(mask)], 1)
        heads = upsampled(network(ClipBatch(frames, masks)))
    finally:
        network.eval()
    for h, head in enumerate(heads):
        got = head[:, 0, ::4, ::4].detach()
        np.testing.assert_allclose(got, golden[f"train_head_{h}"], atol=1e-3)
    weight = boundary_weight(mask)
    losses = [structure_loss(head, mask, weight, "released") for head in heads]
    np.testing.assert_allclose([v.item() for v in losses], golden["train_loss_released"], atol=1e-4)
    weighted = [structure_loss(head, mask, weight, "weighted").item() for head in heads]
    np.testing.assert_allclose(weighted, golden["train_loss_weighted"], atol=1e-4)

    sum(losses).backward()
    norms = {n: p.grad.norm().item() for n, p in network.named_parameters() if p.grad is not None}
    shapes = json.loads((GOLDEN / "released_checkpoint_keys.json").read_text())
    expected = dict(zip(golden["train_grad_names"], golden["train_grad_norms"], strict=True))
    assert len(expected) == 1320
    for name, norm in expected.items():
        (ours,) = rename_released({str(name): torch.empty(shapes[str(name)])})
        # A bias in front of a batch norm has no true gradient: what is there is rounding.
        np.testing.assert_allclose(norms.pop(ours), norm, rtol=1e-2, atol=1e-4, err_msg=ours)
    assert not [name for name, norm in norms.items() if norm > 0]
