"""Lesions and tracks against cases worked out by hand."""

import numpy as np
import pytest

from sali.metrics.operating_point import OperatingPoint
from sali.prediction.writers.tables import find_lesions
from sali.prediction.writers.tracks import Tracker, overlap


def test_overlap_of_boxes():
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 4, 4), (1, 1, 2, 2)) == pytest.approx(4 / 16)
    assert overlap((0, 0, 4, 4), (4, 0, 4, 4)) == 0


def test_lesions_are_areas_of_eight_neighbours_that_are_large_enough():
    probability = np.zeros((6, 8), np.float32)
    probability[0, 6] = 0.9  # one pixel: too small
    probability[1, 1] = probability[2, 2] = 0.5  # touch at a corner
    probability[3:6, 4:7] = 0.6
    probability[4, 5] = 0.75
    found = find_lesions(probability, OperatingPoint(0.5), min_area=2)
    assert [one.mask.sum() for one in found] == [2, 9]
    assert [(one.area, one.box, one.peak) for one in found] == [
        (2, (1, 1, 2, 2), 0.5),
        (9, (4, 3, 3, 3), 0.75),
    ]
    assert len(find_lesions(probability, OperatingPoint(0.5), min_area=1)) == 3
    assert find_lesions(probability, OperatingPoint(0.95), min_area=1) == []


def follow(frames, min_iou=0.1, max_gap=0):
    """Track numbers per frame; None stands for a frame that was left out."""
    tracker = Tracker(min_iou, max_gap)
    return [tracker.step(i, boxes) for i, boxes in enumerate(frames) if boxes is not None]


def at(x, y=0, size=10):
    return (x, y, size, size)


def test_two_lesions_that_cross_keep_their_numbers():
    # One goes right below, the other left above; the pairing with the most overlap tells them apart
    # although both overlap both where they meet.
    frames = [[at(4 * t, 3), at(24 - 4 * t, 0)] for t in range(7)]
    assert overlap(at(8, 3), at(12, 0)) > 0.1
    assert follow(frames) == [[1, 2]] * 7


def test_the_pairing_with_the_largest_sum_counts_not_the_best_single_one():
    # Overlaps 2/3 and 9/11 of the first track, 1/3 and 2/3 of the second: 4/3 > 9/11 + 1/3.
    assert overlap(at(0), at(1)) == pytest.approx(9 / 11)
    assert follow([[at(0), at(3)], [at(-2), at(1)]]) == [[1, 2], [1, 2]]


@pytest.mark.parametrize(("max_gap", "last"), [(0, 2), (1, 2), (2, 1)])
def test_a_gap_is_bridged_up_to_its_length(max_gap, last):
    assert follow([[at(0)], [], [], [at(1)]], max_gap=max_gap) == [[1], [], [], [last]]
    assert follow([[at(0)], None, None, [at(1)]], max_gap=max_gap) == [[1], [last]]


def test_of_a_split_the_better_part_keeps_the_number():
    whole, large, small = (0, 0, 30, 10), (0, 0, 18, 10), (22, 0, 8, 10)
    assert follow([[whole], [small, large], [large, small]]) == [[1], [2, 1], [1, 2]]


def test_a_merge_goes_on_as_one_and_the_other_comes_back_within_the_gap():
    large, small, whole = (0, 0, 18, 10), (22, 0, 8, 10), (0, 0, 30, 10)
    frames = [[large, small], [whole], [large, small]]
    assert follow(frames, max_gap=1) == [[1, 2], [1], [1, 2]]
    assert follow(frames, max_gap=0) == [[1, 2], [1], [1, 3]]


def test_nothing_and_far_apart():
    assert follow([[], []]) == [[], []]
    assert follow([[at(0)], [at(50)]]) == [[1], [2]]


def test_a_tracker_goes_on_from_its_state():
    first = Tracker(0.1, 2)
    first.step(0, [at(0), at(40)])
    second = Tracker(0.1, 2)
    second.load_state(first.state())
    assert second.step(1, [at(80), at(41)]) == first.step(1, [at(80), at(41)]) == [3, 2]
    assert second.step(2, [at(0)]) == [1]
