"""The clinical protocol on clips small enough to count by hand."""

import numpy as np
import pytest
import torch

from sali.metrics.clinical import (
    TALLY_SIZE,
    ClinicalRules,
    ClipTally,
    ClipTracker,
    probability_map,
)
from sali.metrics.clinical_metric import ClinicalMetric
from sali.metrics.clinical_summary import clinical_names, summarise

SHAPE = (10, 10)
NOTHING = np.zeros(SHAPE, bool)
POLYP = NOTHING.copy()
POLYP[2:6, 2:6] = True
PART = NOTHING.copy()
PART[2:6, 2:3] = True
ALARM = NOTHING.copy()
ALARM[9, :5] = True
Frame = tuple[np.ndarray, np.ndarray]


def tally(frames: list[Frame], rules: ClinicalRules) -> ClipTally:
    """Reads (marked, truth) pairs; marks have probability 0.8."""
    tracker = ClipTracker(rules)
    for marked, truth in frames:
        tracker.step(probability_map(marked * 0.8), truth)
    return tracker.tally


def figure(name: str, frames: list[Frame], **rules: object) -> float | None:
    made = ClinicalRules(**rules)
    return summarise([tally(frames, made)], made)[name]


def test_overlap_is_that_of_the_raw_threshold() -> None:
    assert figure("dice_at_0.5", [(POLYP, POLYP), (PART, POLYP)]) == pytest.approx((1 + 0.4) / 2)
    assert figure("iou_at_0.5", [(PART, POLYP)]) == pytest.approx(0.25)
    assert figure("dice_at_0.9", [(POLYP, POLYP)], threshold=0.9) == 0
    # A map that the VPS protocol would stretch to a perfect one.
    tracker = ClipTracker(ClinicalRules())
    tracker.step(POLYP.astype(np.uint8) * 3, POLYP)
    assert summarise([tracker.tally], ClinicalRules())["dice_at_0.5"] == 0


@pytest.mark.parametrize(
    ("empty", "silent", "marked"), [("skip", None, None), ("one", 1, 0), ("zero", 0, 0)]
)
def test_empty_policy(empty: str, silent: float | None, marked: float | None) -> None:
    assert figure("dice_at_0.5", [(NOTHING, NOTHING)], empty=empty) == silent
    assert figure("iou_at_0.5", [(ALARM, NOTHING)], empty=empty) == marked


def test_empty_policy_weighs_in_the_mean() -> None:
    frames = [(POLYP, POLYP), (ALARM, NOTHING)]
    found = {e: figure("dice_at_0.5", frames, empty=e) for e in ("skip", "one", "zero")}
    assert found == {"skip": 1, "one": 0.5, "zero": 0.5}


def test_polyp_free_frames() -> None:
    free = [(ALARM, NOTHING), (ALARM, NOTHING), (NOTHING, NOTHING), (ALARM, NOTHING)]
    frames = [*free, (POLYP, POLYP), (ALARM, NOTHING), (NOTHING, NOTHING), (NOTHING, NOTHING)]
    rules = ClinicalRules(frames_per_second=2)
    scores = summarise([tally(frames, rules)], rules)
    assert scores["frame_specificity"] == pytest.approx(3 / 7)
    assert scores["pixel_specificity_polyp_free"] == pytest.approx(1 - 4 * 5 / 700)
    assert scores["false_positive_frames_per_minute"] == pytest.approx(4 / (7 / 2 / 60))
    assert scores["false_alarms"] == 3
    assert scores["false_alarm_seconds_mean"] == pytest.approx(4 / 3 / 2)
    assert scores["false_alarm_seconds_max"] == pytest.approx(2 / 2)
    assert figure("frame_specificity", free, alarm_pixels=6) == 1


def test_detection() -> None:
    frames = [
        (NOTHING, NOTHING),
        (NOTHING, POLYP),
        (PART, POLYP),
        (NOTHING, NOTHING),
        (POLYP, POLYP),
        (NOTHING, POLYP),
    ]
    fps = {"frames_per_second": 10}
    assert figure("first_detection_seconds_mean", frames, **fps) == pytest.approx(0.3)
    assert figure("first_detection_seconds_mean", frames, detection_iou=0, **fps) == pytest.approx(
        0.1
    )
    assert figure("frame_sensitivity", frames) == pytest.approx(1 / 4)
    assert figure("frame_sensitivity", frames, detection_iou=0) == pytest.approx(2 / 4)
    assert figure("first_detection_seconds_median", [(ALARM, POLYP)], detection_iou=0) is None


def test_a_polyp_is_a_clip() -> None:
    rules = ClinicalRules()
    clips = [[(POLYP, POLYP)], [(NOTHING, POLYP)], [(NOTHING, NOTHING)]]
    scores = summarise([tally(clip, rules) for clip in clips], rules)
    assert (scores["polyps"], scores["polyps_detected"]) == (2, 1)
    assert scores["polyp_sensitivity"] == 0.5
    assert scores["dice_at_0.5"] == 0.5


def test_stability() -> None:
    moved = np.roll(POLYP, (2, 3), axis=(0, 1))
    assert figure("stability", [(POLYP, POLYP), (moved, moved)]) == 1
    flicker = [(POLYP, POLYP), (NOTHING, POLYP), (POLYP, POLYP)]
    assert figure("stability", flicker) == 0
    assert figure("stability_of_truth", flicker) == 1
    assert figure("stability", [(NOTHING, POLYP), (NOTHING, POLYP)]) is None
    assert figure("stability", [(ALARM, NOTHING), (NOTHING, NOTHING)]) is None


def test_calibration_is_over_all_pixels() -> None:
    assert figure("brier", [(POLYP, POLYP)]) == pytest.approx(0.16 * 0.2**2)
    assert figure("ece", [(POLYP, POLYP)]) == pytest.approx(0.16 * 0.2)


def test_names_and_nothing_to_report() -> None:
    rules = ClinicalRules(threshold=0.25)
    scores = summarise([], rules)
    assert tuple(scores) == clinical_names(rules)
    assert "dice_at_0.25" in scores
    assert "dice" not in scores
    assert {scores[name] for name in scores if not name.startswith("polyps")} == {None}


def test_tally_as_vector() -> None:
    made = tally([(POLYP, POLYP), (ALARM, NOTHING)], ClinicalRules())
    vector = made.vector()
    assert vector.shape == (TALLY_SIZE,)
    np.testing.assert_array_equal(ClipTally.from_vector(vector).vector(), vector)


def test_probability_map_keeps_the_threshold() -> None:
    values = np.array([[0, 0.4999, 0.5, 0.5001, 1]])
    np.testing.assert_array_equal(probability_map(values)[0] / 255 >= 0.5, values[0] >= 0.5)
    for bad in (np.array([[1.5]]), np.array([[-3.0]]), np.array([[np.nan]])):
        with pytest.raises(ValueError, match="wanted 0 to 1"):
            probability_map(bad)


def clip(seed: int, length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(seed)
    return [
        (generator.integers(0, 256, SHAPE, dtype=np.uint8), POLYP if seed % 2 else NOTHING)
        for _ in range(length)
    ]


def fed_metric(clip_indices: list[int]) -> ClinicalMetric:
    metric = ClinicalMetric(["a", "b", "c"], ClinicalRules(detection_iou=0.1))
    for index in clip_indices:
        for prediction, mask in clip(index, index + 2):
            metric.update(torch.from_numpy(prediction), torch.from_numpy(mask), index)
    return metric


def test_metric_equals_the_functions() -> None:
    metric = fed_metric([0, 1, 2])
    tallies = []
    for index in range(3):
        tracker = ClipTracker(metric.rules)
        for frame in clip(index, index + 2):
            tracker.step(*frame)
        tallies.append(tracker.tally)
    result = metric.compute()
    assert result["subset"] == summarise(tallies, metric.rules)
    assert result["clips"]["b"] == summarise(tallies[1:2], metric.rules)


def test_metric_adds_up_over_processes() -> None:
    """What the sum over two processes with whole clips does to the state."""
    first, second = fed_metric([1]), fed_metric([2, 0])
    first.tallies += second.tallies
    assert first.compute() == fed_metric([0, 1, 2]).compute()


def test_metric_needs_clips_in_one_go() -> None:
    metric = fed_metric([0, 1])
    with pytest.raises(ValueError, match="in one go"):
        metric.update(*clip(0, 1)[0], clip_index=0)
    metric.reset()
    metric(*clip(1, 1)[0], clip_index=1)
    result = metric.compute()
    assert list(result["clips"]) == ["b"]
    assert result["subset"]["polyps"] == 1


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"threshold": 0}, "threshold: got 0"),
        ({"frames_per_second": 0}, "frames_per_second: got 0"),
        ({"detection_iou": 2}, "detection_iou: got 2"),
        ({"alarm_pixels": 0}, "alarm_pixels: got 0"),
        ({"empty": "nan"}, "empty: got 'nan'"),
    ],
)
def test_bad_rules(rules: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClinicalRules(**rules)
