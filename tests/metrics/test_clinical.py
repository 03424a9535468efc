"""The clinical protocol on clips small enough to count by hand."""

import numpy as np
import pytest
from scipy import ndimage

from sali.metrics.clinical import (
    ClinicalRules,
    ClipTally,
    ClipTracker,
)
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
        tracker.step(np.rint(marked * 0.8 * 255).astype(np.uint8), truth)
    return tracker.tally


def score(name: str, frames: list[Frame], **rules: object) -> float | None:
    made = ClinicalRules(**rules)
    return summarise([tally(frames, made)], made)[name]


def test_overlap_is_that_of_the_raw_threshold() -> None:
    assert score("dice_at_0.5", [(POLYP, POLYP), (PART, POLYP)]) == pytest.approx((1 + 0.4) / 2)
    assert score("iou_at_0.5", [(PART, POLYP)]) == pytest.approx(0.25)
    assert score("dice_at_0.9", [(POLYP, POLYP)], threshold=0.9) == 0
    # A map that the VPS protocol would stretch to a perfect one.
    tracker = ClipTracker(ClinicalRules())
    tracker.step(POLYP.astype(np.uint8) * 3, POLYP)
    assert summarise([tracker.tally], ClinicalRules())["dice_at_0.5"] == 0


@pytest.mark.parametrize(
    ("empty", "silent", "marked"), [("skip", None, None), ("one", 1, 0), ("zero", 0, 0)]
)
def test_empty_policy(empty: str, silent: float | None, marked: float | None) -> None:
    assert score("dice_at_0.5", [(NOTHING, NOTHING)], empty=empty) == silent
    assert score("iou_at_0.5", [(ALARM, NOTHING)], empty=empty) == marked


def test_empty_policy_weighs_in_the_mean() -> None:
    frames = [(POLYP, POLYP), (ALARM, NOTHING)]
    found = {e: score("dice_at_0.5", frames, empty=e) for e in ("skip", "one", "zero")}
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
    assert score("frame_specificity", free, alarm_pixels=6) == 1


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
    assert score("first_detection_seconds_mean", frames, **fps) == pytest.approx(0.3)
    assert score("first_detection_seconds_mean", frames, detection_iou=0, **fps) == pytest.approx(
        0.1
    )
    assert score("frame_sensitivity", frames) == pytest.approx(1 / 4)
    assert score("frame_sensitivity", frames, detection_iou=0) == pytest.approx(2 / 4)
    assert score("first_detection_seconds_median", [(ALARM, POLYP)], detection_iou=0) is None


def test_a_polyp_is_a_clip() -> None:
    rules = ClinicalRules()
    clips = [[(POLYP, POLYP)], [(NOTHING, POLYP)], [(NOTHING, NOTHING)]]
    scores = summarise([tally(clip, rules) for clip in clips], rules)
    assert (scores["polyps"], scores["polyps_detected"]) == (2, 1)
    assert scores["polyp_sensitivity"] == 0.5
    assert scores["dice_at_0.5"] == 0.5


def test_stability() -> None:
    moved = np.roll(POLYP, (2, 3), axis=(0, 1))
    assert score("stability", [(POLYP, POLYP), (moved, moved)]) == 1
    flicker = [(POLYP, POLYP), (NOTHING, POLYP), (POLYP, POLYP)]
    assert score("stability", flicker) == 0
    assert score("stability_of_truth", flicker) == 1
    assert score("stability", [(NOTHING, POLYP), (NOTHING, POLYP)]) is None
    assert score("stability", [(ALARM, NOTHING), (NOTHING, NOTHING)]) is None


def test_calibration_is_over_all_pixels() -> None:
    assert score("brier", [(POLYP, POLYP)]) == pytest.approx(0.16 * 0.2**2)
    assert score("ece", [(POLYP, POLYP)]) == pytest.approx(0.16 * 0.2)


def test_names_and_nothing_to_report() -> None:
    rules = ClinicalRules(threshold=0.25)
    scores = summarise([], rules)
    assert tuple(scores) == clinical_names(rules)
    assert "dice_at_0.25" in scores
    assert "dice" not in scores
    assert {scores[name] for name in scores if not name.startswith("polyps")} == {None}


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


def test_returns_of_a_polyp() -> None:
    there, missed, away = (POLYP, POLYP), (NOTHING, POLYP), (NOTHING, NOTHING)
    frames = [
        *(away, there, away),  # its first appearance is no return
        *(missed, missed, there, missed, away, away),  # found after two frames
        *(missed, away),  # never found
        there,  # found at once
    ]
    rules = ClinicalRules(frames_per_second=4)
    scores = summarise([tally(frames, rules)], rules)
    assert (scores["polyp_returns"], scores["polyp_returns_found"]) == (3, 2)
    assert scores["return_delay_frames_mean"] == 1
    assert scores["return_delay_seconds_mean"] == 0.25
    assert score("polyp_returns", frames, absence_frames=2) == 1
    assert scores["false_alarms_per_minute"] == 0
    assert score("false_alarms_per_minute", [(ALARM, NOTHING), away], frames_per_second=2) == 60


def test_sensitivity_at_matched_rates_of_alarms() -> None:
    """Against a plain loop over confidences, with regions by SciPy."""

    def certain(prediction: np.ndarray, confidence: int) -> np.ndarray:
        labels, number = ndimage.label(prediction >= 128, np.ones((3, 3)))
        means = np.array([0.0, *ndimage.mean(prediction, labels, range(1, number + 1))])
        return (means >= confidence)[labels] & (labels > 0)

    random = np.random.default_rng(0)
    frames = []
    for number in range(60):
        truth = POLYP if number % 3 else NOTHING
        noise = random.random(SHAPE) ** 3 * random.random()
        frames.append((np.rint(255 * np.maximum(noise, truth * random.random())), truth))
    rules = ClinicalRules(alarm_rates=[0.1, 0.3], alarm_pixels=2)
    tracker = ClipTracker(rules)
    for prediction, truth in frames:
        tracker.step(prediction.astype(np.uint8), truth)
    scores = summarise([tracker.tally], rules)
    free = [one for one, truth in frames if not truth.any()]
    polyp = [(one, truth) for one, truth in frames if truth.any()]
    alarms = [sum(certain(one, k).sum() >= 2 for one in free) for k in range(256)]
    np.testing.assert_array_equal(tracker.tally.alarms, alarms)
    for rate in (0.1, 0.3):
        level = next(
            k for k in range(257) if np.mean([certain(one, k).sum() >= 2 for one in free]) <= rate
        )
        marked = [(certain(one, level), truth) for one, truth in polyp]
        ious = [(m & t).sum() / (m | t).sum() for m, t in marked]
        assert scores[f"frame_sensitivity_at_alarm_rate_{rate}"] == np.mean(np.array(ious) >= 0.5)
        touched = [(m & t).any() for m, t in marked]
        assert scores[f"overlap_sensitivity_at_alarm_rate_{rate}"] == np.mean(touched)
    # Clips without polyp-free frames borrow those of others.
    separate = [tally([frame], ClinicalRules()) for frame in [(POLYP, POLYP), (ALARM, NOTHING)]]
    alone, with_free = (
        summarise(separate[:1], ClinicalRules(), free)["frame_sensitivity_at_alarm_rate_0.05"]
        for free in (None, separate[1:])
    )
    assert alone is None and with_free == 0, "both are marked with a probability of 0.8"
