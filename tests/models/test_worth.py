"""Which frames are stored, and when the memory starts anew."""

import numpy as np
import pytest
import torch
from conftest import small_network

from sali.models.sali.bank import MemoryBank
from sali.models.sali.state import SALIState
from sali.models.sali.worth import confidence, scene_distance, sharpness
from sali.streaming import StreamSegmenter


def pyramid(value=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(1, 32, side, side) for side in (32, 16, 8)]
    return [
        torch.rand(shape, generator=generator) if value is None else torch.full(shape, value)
        for shape in shapes
    ]


def stored_frames(state):
    return sorted(set(state.bank.levels[0].frame.tolist())) if state.bank.levels else []


def test_confidence_is_the_mean_where_it_says_polyp():
    logits = torch.logit(torch.tensor([[0.9, 0.7, 0.2, 0.4]])).view(1, 1, 1, 4)
    assert confidence(logits) == pytest.approx(0.8)
    nothing = torch.logit(torch.tensor([[0.1, 0.3]])).view(1, 1, 1, 2)
    assert confidence(nothing) == pytest.approx(0.8)


def test_sharpness_is_the_variance_of_the_laplacian():
    features = pyramid()
    x = features[0][0].numpy()
    inner = (
        x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:] - 4 * x[:, 1:-1, 1:-1]
    )
    assert sharpness(features) == pytest.approx(inner.var(axis=(1, 2)).mean(), rel=1e-4)
    assert sharpness(pyramid(value=3.0)) == pytest.approx(0, abs=1e-6)


def test_scene_distance_is_that_of_the_mean_features():
    a, b = pyramid(seed=1), pyramid(seed=2)
    one, other = (np.concatenate([level.mean((0, 2, 3)).numpy() for level in p]) for p in (a, b))
    norms = np.linalg.norm(one) + np.linalg.norm(other)
    assert scene_distance(a, b) == pytest.approx(np.linalg.norm(one - other) / norms, rel=1e-4)
    assert scene_distance(a, a) == 0 and scene_distance(pyramid(0.0), pyramid(0.0)) == 0
    assert scene_distance(pyramid(0.0), a) == pytest.approx(1)


@torch.no_grad()
def test_frames_that_are_not_sharp_are_not_stored():
    """Every second frame is flat; the first is stored as it is the mean itself."""
    state = small_network().eval().start(every=1, min_sharpness=0.9)
    for t in range(6):
        state.step(pyramid(value=1.0) if t % 2 else pyramid(seed=t))
    assert stored_frames(state) == [0, 2, 4]


@torch.no_grad()
def test_frames_that_are_not_sure_are_not_stored():
    network = small_network().eval()
    frames = [pyramid(seed=t) for t in range(6)]
    plain = network.start(every=1)
    sure = [confidence(plain.step(frame)) for frame in frames[:1]]
    for limit, expected in ((sure[0] + 1e-4, False), (sure[0] - 1e-4, True)):
        state = network.start(every=1, min_confidence=limit)
        state.step(frames[0])
        assert bool(stored_frames(state)) == expected


@torch.no_grad()
def test_while_nothing_is_stored_every_frame_is_due():
    state = small_network().eval().start(every=5, min_sharpness=0.99)
    for t, frame in enumerate([pyramid(seed=0), *[pyramid(value=1.0)] * 2, pyramid(seed=3)]):
        if t == 0:
            state.bank.max_frames, kept = 0, state.bank.max_frames  # as if it was not worth it
        state.step(frame)
        state.bank.max_frames = kept
    assert stored_frames(state) == [3]


@pytest.mark.parametrize("neighbor", ["previous", "next"])
@torch.no_grad()
def test_after_a_scene_cut_a_video_is_a_new_one(neighbor):
    network = small_network(fusion="released").eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "to_offset" in name:
                tensor.normal_(0, 0.1)
    first = [pyramid(seed=t) for t in range(3)]
    second = [[level + 5 for level in pyramid(seed=t)] for t in range(3, 6)]
    assert scene_distance(first[-1], second[0]) > 0.5 > scene_distance(*second[:2])

    def results(frames, **settings) -> tuple[list[torch.Tensor], SALIState]:
        state = network.start(every=2, neighbor=neighbor, **settings)
        found = [state.step(frame) for frame in frames] + [state.flush()]
        return [logits for logits in found if logits is not None], state

    cut, state = results([*first, *second], scene_cut=0.5)
    for got, expected in zip(cut, results(first)[0] + results(second)[0], strict=True):
        torch.testing.assert_close(got, expected)
    assert stored_frames(state) == [3, 5]
    assert (results([*first, *second])[0][3] - cut[3]).abs().max() > 1e-6


def test_state_round_trip_with_everything_on():
    network = small_network().eval()
    options = {"image_size": 256, "every": 1, "min_sharpness": 0.95, "scene_cut": 0.01}
    frames = list(np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3)).astype(np.uint8))
    whole = StreamSegmenter(network, **options)
    maps = [whole.step(frame) for frame in frames]
    half = StreamSegmenter(network, **options)
    for frame in frames[:3]:
        half.step(frame)
    resumed = StreamSegmenter(network, **options)
    resumed.load_state(half.state())
    for frame, expected in zip(frames[3:], maps[3:], strict=True):
        np.testing.assert_array_equal(resumed.step(frame), expected)
    assert stored_frames(resumed.video) == stored_frames(whole.video)
    totals = [s.state()["video"]["total_sharpness"] for s in (whole, resumed)]
    assert totals[0] == pytest.approx(totals[1]) and totals[0] > 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"min_confidence": 1}, "min_confidence: got 1, wanted 0 or more, below 1"),
        ({"min_sharpness": -1}, "min_sharpness: got -1"),
        ({"scene_cut": -0.1}, "scene_cut: got -0.1"),
    ],
)
def test_limits_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        MemoryBank(3, 1, "least_used", **setting)


def test_a_checkpoint_of_before_takes_the_new_settings():
    """Its node does not name them; the bank's own values say that they are off."""
    network = small_network().eval()
    settings = network.video_settings
    assert {settings[name] for name in ("min_confidence", "min_sharpness", "scene_cut")} == {0}
    assert network.start(scene_cut=0.2).bank.scene_cut == 0.2
