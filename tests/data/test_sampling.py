"""Which frames form a sample, and how samples and clips are dealt out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sali.data.sampling import (
    TrainSampler,
    clip_batches,
    clip_indices,
    sample_frames,
    skip_at,
)


@given(
    length=st.integers(1, 60),
    position=st.floats(0, 1, exclude_max=True),
    skip=st.integers(1, 25),
    seed=st.integers(0, 1000),
)
def test_triplets(length, position, skip, seed):
    i = int(position * length)
    rng = np.random.default_rng(seed)
    causal = sample_frames(length, i, skip, "previous", rng)
    assert causal["neighbor"] == max(i - 1, 0)
    assert causal["memory"] <= i
    assert i == 0 or i - skip <= causal["memory"] < i
    ahead = sample_frames(length, i, skip, "next", rng)
    if length > 1:
        assert ahead["neighbor"] == (i + 1 if i < length - 1 else i - 1)
        assert ahead["memory"] == 1 if i == 0 else i - skip <= ahead["memory"] < i
    assert all(0 <= n < length for n in (*causal.values(), *ahead.values()))


def test_memory_frame_is_drawn_from_the_whole_range():
    rng = np.random.default_rng(0)
    drawn = {sample_frames(50, 30, 5, "previous", rng)["memory"] for _ in range(300)}
    assert drawn == {25, 26, 27, 28, 29}


def test_skip_curriculum():
    schedule = {0: 5, 5: 10, 10: 15}
    assert [skip_at(e, schedule) for e in (0, 4, 5, 9, 10, 99)] == [5, 5, 10, 10, 15, 15]
    with pytest.raises(ValueError, match="epoch 0"):
        skip_at(3, {1: 5})


def test_training_order_differs_by_epoch_and_repeats_by_seed():
    sampler = TrainSampler(50, seed=1, batch_size=8)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    assert [e for e, _ in second] == [1] * 48
    assert len(set(first)) == len(first) == len(sampler) == 48
    assert first == list(TrainSampler(50, seed=1, batch_size=8))


def test_processes_share_an_epoch_without_overlap():
    parts = [list(TrainSampler(51, 1, 4, rank, 3)) for rank in range(3)]
    assert [len(p) for p in parts] == [16, 16, 16]
    assert len({i for part in parts for _, i in part}) == 48


def test_interrupted_epoch_goes_on():
    sampler = TrainSampler(50, 1, 8)
    whole = list(sampler)
    sampler.skip = 16
    assert list(sampler) == whole[16:]
    assert list(sampler) == whole


def test_too_few_frames_for_a_batch():
    with pytest.raises(ValueError, match="lower data.batch_size"):
        TrainSampler(7, 1, 4, 0, 2)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), world=st.integers(1, 5))
def test_clips_are_dealt_out_whole_in_order_and_once(lengths, world):
    world = min(world, len(lengths))
    starts = np.cumsum([0, *lengths])
    seen = []
    for rank in range(world):
        indices = clip_indices(lengths, rank, world)
        assert indices == sorted(indices)
        clips = [int(np.searchsorted(starts, i, side="right")) - 1 for i in indices]
        for clip in set(clips):
            assert clips.count(clip) == lengths[clip]
        seen += indices
    assert sorted(seen) == list(range(sum(lengths)))


def test_fewer_clips_than_processes_are_on_all_of_them():
    assert [clip_indices([2, 1], rank, 3) for rank in range(3)] == [[0, 1, 2]] * 3


def test_clips_side_by_side_come_in_order_and_once():
    batches = clip_batches([2, 3, 1, 2], streams=2)
    # Frames 0-1 are the first clip, 2-4 the second, 5 the third, 6-7 the last.
    assert batches == [[0, 2], [1, 3], [4, 5], [6], [7]]
    assert clip_batches([2, 1], streams=1) == [[0], [1], [2]]
    with pytest.raises(ValueError, match="streams is 0"):
        clip_batches([2, 1], streams=0)
