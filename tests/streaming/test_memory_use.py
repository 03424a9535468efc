"""What a result read of the memory, folded back onto past frames."""

import numpy as np
import pytest
import torch
from conftest import small_network

from sali.models.blocks import resize
from sali.streaming import LevelUse, StreamSegmenter, use_of_frames

OPTIONS = dict(image_size=256, max_frames=2, every=1, eviction="least_used", neighbor="previous")


def test_shares_of_one_level_lie_where_the_elements_were():
    use = LevelUse(
        frame=torch.tensor([4, 4, 7]),
        position=torch.tensor([0, 5, 3]),
        usage=torch.tensor([1.0, 2.0, 3.0]),
        grid=(2, 3),
    )
    found = use_of_frames([use])
    assert list(found) == [4, 7]
    np.testing.assert_allclose(found[4], [[1 / 6, 0, 0], [0, 0, 2 / 6]])
    np.testing.assert_allclose(found[7], [[0, 0, 0], [3 / 6, 0, 0]])


def test_a_coarse_level_is_spread_over_the_cells_it_covers():
    fine = LevelUse(torch.tensor([0]), torch.tensor([9]), torch.tensor([16.0]), (4, 4))
    coarse = LevelUse(torch.tensor([1]), torch.tensor([3]), torch.tensor([4.0]), (2, 2))
    found = use_of_frames([fine, coarse])
    assert found[0].sum() == pytest.approx(0.5) and found[0][2, 1] == pytest.approx(0.5)
    assert found[1].sum() == pytest.approx(0.5)
    one = torch.zeros(1, 1, 2, 2)
    one[0, 0, 1, 1] = 1
    expected = resize(one, size=(4, 4))[0, 0].numpy()
    np.testing.assert_allclose(found[1], expected / expected.sum() / 2, rtol=1e-6)


def test_nothing_read_is_nothing():
    assert use_of_frames([]) == {}


def test_a_stream_tells_what_it_read():
    segmenter = StreamSegmenter(small_network().eval(), **OPTIONS)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (5, 64, 64, 3)).astype(np.uint8)
    shown = []
    for frame in frames:
        before = [level.size for level in segmenter.bank.levels]
        counted = [level.usage.clone() for level in segmenter.bank.levels]
        segmenter.step(frame)
        assert [len(use.frame) for use in segmenter.memory_use] == before
        # The bank counts the same weights, where the element was not evicted since.
        for use, usage in zip(segmenter.memory_use, counted, strict=True):
            assert use.usage.sum() == pytest.approx(use.grid[0] * use.grid[1], rel=1e-4)
            assert use.usage.shape == usage.shape
        shown.append(use_of_frames(segmenter.memory_use))
    assert [list(found) for found in shown[:3]] == [[], [0], [0, 1]]
    for found in shown[1:]:
        assert sum(share.sum() for share in found.values()) == pytest.approx(1, abs=1e-4)
        assert all(share.shape == (32, 32) for share in found.values())


def test_a_frame_finds_itself_where_it_was():
    """A picture seen twice reads itself: the same keys at the same positions."""
    segmenter = StreamSegmenter(small_network(top_k=1).eval(), **OPTIONS)
    frame = np.random.default_rng(1).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    segmenter.step(frame)
    segmenter.step(frame)
    (use, *_) = segmenter.memory_use
    assert use.position.tolist() == list(range(32 * 32))
    assert (use.usage == 1).float().mean() > 0.99
