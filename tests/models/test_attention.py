"""What a result read of the memory, folded back onto past frames."""

import numpy as np
import pytest
import torch
from conftest import small_network

from sali.models.blocks import resize
from sali.models.sali.state import LevelRead, MemoryAttention
from sali.streaming import StreamSegmenter

OPTIONS = dict(image_size=256, max_frames=2, every=1, eviction="least_used", neighbor="previous")


def test_shares_of_one_level_lie_where_the_elements_were():
    use = LevelRead(
        frame=torch.tensor([4, 4, 7]),
        position=torch.tensor([0, 5, 3]),
        usage=torch.tensor([1.0, 2.0, 3.0]),
        grid=(2, 3),
    )
    found = MemoryAttention([use]).by_frame()
    assert list(found) == [4, 7]
    np.testing.assert_allclose(found[4], [[1 / 6, 0, 0], [0, 0, 2 / 6]])
    np.testing.assert_allclose(found[7], [[0, 0, 0], [3 / 6, 0, 0]])


def test_a_coarse_level_is_spread_over_the_cells_it_covers():
    fine = LevelRead(torch.tensor([0]), torch.tensor([9]), torch.tensor([16.0]), (4, 4))
    coarse = LevelRead(torch.tensor([1]), torch.tensor([3]), torch.tensor([4.0]), (2, 2))
    found = MemoryAttention([fine, coarse]).by_frame()
    assert found[0].sum() == pytest.approx(0.5) and found[0][2, 1] == pytest.approx(0.5)
    assert found[1].sum() == pytest.approx(0.5)
    one = torch.zeros(1, 1, 2, 2)
    one[0, 0, 1, 1] = 1
    expected = resize(one, size=(4, 4))[0, 0].numpy()
    np.testing.assert_allclose(found[1], expected / expected.sum() / 2, rtol=1e-6)


def test_a_stream_shows_what_it_read():
    segmenter = StreamSegmenter(small_network().eval(), **OPTIONS)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (5, 64, 64, 3)).astype(np.uint8)
    shown = []
    for frame in frames:
        before = [level.size for level in segmenter.video.bank.levels]
        segmenter.step(frame)
        reads = segmenter.attention.levels if segmenter.attention else []
        assert [len(read.frame) for read in reads] == before
        for read in reads:
            assert read.usage.sum() == pytest.approx(read.grid[0] * read.grid[1], rel=1e-4)
        shown.append(segmenter.attention.by_frame() if segmenter.attention else {})
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
    finest = segmenter.attention.levels[0]
    assert finest.position.tolist() == list(range(32 * 32))
    assert (finest.usage == 1).float().mean() > 0.99
