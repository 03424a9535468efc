"""Eviction of the memory bank."""

import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from sali.models.sali.bank import MemoryBank
from sali.models.sali.memory import KeyValue
from sali.streaming import StreamSegmenter

GRIDS = [16, 4, 1]


def frame_elements(value: float) -> list[KeyValue]:
    return [KeyValue(torch.full((1, 4, n), value), torch.full((1, 2, n), value)) for n in GRIDS]


@settings(deadline=None, max_examples=30)
@given(
    cap=st.integers(1, 5),
    reads=st.lists(st.integers(0, 2**31), min_size=1, max_size=14),
)
def test_corrected_eviction_keeps_the_newest_frame_and_the_cap(cap, reads):
    bank = MemoryBank(cap, 1, "least_used")
    for t, seed in enumerate(reads):
        if bank.levels:
            generator = torch.Generator().manual_seed(seed)
            bank.count_usage([torch.rand(1, n, generator=generator) for n in bank.sizes])
        bank.add(frame_elements(float(t)), t)
        assert bank.sizes == [min(t + 1, cap) * n for n in GRIDS]
        for level, grid in zip(bank.levels, GRIDS, strict=True):
            assert (level.frame == t).sum() == grid
            assert level.key[0].tolist() == level.frame.tolist()  # fields stay together


def test_corrected_eviction_removes_the_least_used_per_read():
    bank = MemoryBank(2, 1, "least_used")
    for t in range(2):
        bank.add(frame_elements(float(t)), t)
        bank.count_usage([torch.arange(n, dtype=torch.float32).unsqueeze(0) for n in bank.sizes])
    usage = torch.cat([level.usage / level.life for level in bank.levels[:1]])
    leaving = usage.argsort(stable=True)[: GRIDS[0]]
    staying = sorted(set(range(2 * GRIDS[0])) - set(leaving.tolist()))
    expected = bank.levels[0].frame[staying].tolist() + [2] * GRIDS[0]
    bank.add(frame_elements(2.0), 2)
    assert bank.levels[0].frame.tolist() == expected


def test_released_eviction_drops_the_frame_just_added():
    bank = MemoryBank(3, 1, "released")
    for t in range(6):
        bank.add(frame_elements(float(t)), t)
        bank.count_usage([torch.rand(1, n) + 0.1 for n in bank.sizes])
    assert set(bank.levels[0].frame.tolist()) == {0, 1, 2}


def test_refusals():
    with pytest.raises(ValueError, match="max_frames: got -1"):
        MemoryBank(-1, 1, "least_used")
    with pytest.raises(ValueError, match="least_used"):
        MemoryBank(3, 1, "oldest")


def test_of_equally_used_elements_the_oldest_leave():
    bank = MemoryBank(2, 1, "least_used")
    for t in range(4):
        bank.add(frame_elements(float(t)), t)
        bank.count_usage([torch.zeros(1, n) for n in bank.sizes])
    for level, grid in zip(bank.levels, GRIDS, strict=True):
        assert level.frame.tolist() == [2] * grid + [3] * grid


def test_every_nth_frame_is_wanted_and_none_by_a_bank_of_no_frames():
    bank = MemoryBank(2, 3, "least_used")
    assert [index for index in range(7) if bank.wants(index)] == [0, 3, 6]
    assert not any(MemoryBank(0, 3, "least_used").wants(index) for index in range(7))


def test_statistics_are_those_of_the_elements():
    segmenter = StreamSegmenter(small_network().eval(), 256, max_frames=2, every=1)
    bank = segmenter.video.bank
    assert set(bank.statistics().values()) == {0}
    frame = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    segmenter.step(frame)
    assert bank.statistics()["memory_unread_share"] == 1
    for _ in range(2):
        segmenter.step(frame)
    found = segmenter.video.statistics()
    assert found["memory_frames"] == 2 and found["memory_fill"] == 1
    # By hand: every query spreads a weight of 1 over the elements at each read.
    total = used = unread = 0
    for level in bank.levels:
        for usage, life in zip(level.usage.tolist(), level.life.tolist(), strict=True):
            total, unread = total + 1, unread + (usage == 0)
            used += usage / max(life, 1)
    assert total == 2 * (32**2 + 16**2 + 8**2)
    assert found["memory_usage_per_read"] == pytest.approx(used / total, rel=1e-5)
    assert found["memory_unread_share"] == pytest.approx(unread / total)
    assert 0 < unread < total
