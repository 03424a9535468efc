"""Scores of the clinical protocol from the tallies of clips."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sali.metrics.calibration import brier_score, expected_calibration_error
from sali.metrics.clinical import ClinicalRules, ClipTally
from sali.metrics.counted_frame import NUM_LEVELS, FloatArray, IntArray

ClinicalScores = dict[str, float | None]


def clinical_names(rules: ClinicalRules) -> tuple[str, ...]:
    """Return the names of the scores in the order of `summarise`; two state the threshold."""
    return tuple(summarise([], rules))


def summarise(
    clips: Sequence[ClipTally], rules: ClinicalRules, free: Sequence[ClipTally] | None = None
) -> ClinicalScores:
    """Turn the tallies of clips into scores; give one clip for the scores of that clip.

    `sali.metrics.scores` says what each score means. Dice, IoU and stability are means over the
    clips that have them, of the means over the frames of a clip. Rates of frames and pixels, ECE
    and Brier score are taken over all frames together. A clip with at least one polyp frame is one
    polyp. A sensitivity at a rate of alarms is that at the lowest confidence at which at most this
    share of polyp-free frames has an alarm, see `matched_curve`. `stability` is `centred_iou` of
    consecutive frames with the polyp; that of the ground truth tells how much change is real.

    Args:
        clips: Tallies, of any number of clips.
        rules: The rules under which they were made.
        free: Clips whose polyp-free frames set the rate of alarms at which sensitivities are
            compared; None for the same clips.

    Returns:
        Scores by name; None stands for a score of which there is no case (say, no polyp-free
        frames).
    """
    free_frames = _total(clips, "num_free_frames")
    false_positives = _total(clips, "num_false_positive_frames")
    alarms = _total(clips, "num_false_alarms")
    marked_share = _ratio(
        _total(clips, "num_false_positive_pixels"), _total(clips, "num_free_pixels")
    )
    false_positive_share = _ratio(false_positives, free_frames)
    polyps = [clip for clip in clips if clip.num_polyp_frames]
    detected = [clip for clip in polyps if clip.num_detected_frames]
    delays = [clip.detection_delay / clip.frames_per_second for clip in detected]
    free_minutes = _seconds(clips, "num_free_frames") / 60
    longest = [clip.longest_false_alarm / clip.frames_per_second for clip in clips]
    counts: IntArray = sum((clip.counts for clip in clips), np.zeros((2, NUM_LEVELS), np.int64))
    has_pixels = bool(counts.any())
    return {
        f"dice_at_{rules.threshold:g}": _mean_over_clips(clips, "dice", "num_overlap_frames"),
        f"iou_at_{rules.threshold:g}": _mean_over_clips(clips, "iou", "num_overlap_frames"),
        "frame_sensitivity": _ratio(
            _total(clips, "num_detected_frames"), _total(clips, "num_polyp_frames")
        ),
        "frame_specificity": _complement(false_positive_share),
        "pixel_specificity_polyp_free": _complement(marked_share),
        "false_positive_frames_per_minute": _ratio(false_positives, free_minutes),
        "false_alarms": alarms if free_frames else None,
        "false_alarms_per_minute": _ratio(alarms, free_minutes),
        "false_alarm_seconds_mean": _ratio(_seconds(clips, "num_false_positive_frames"), alarms),
        "false_alarm_seconds_max": max(longest) if alarms else None,
        "polyps": float(len(polyps)),
        "polyps_detected": float(len(detected)),
        "polyp_sensitivity": _ratio(len(detected), len(polyps)),
        "first_detection_seconds_mean": float(np.mean(delays)) if delays else None,
        "first_detection_seconds_median": float(np.median(delays)) if delays else None,
        "polyp_returns": _total(clips, "num_returns") if polyps else None,
        "polyp_returns_found": _total(clips, "num_found_returns") if polyps else None,
        "return_delay_frames_mean": _ratio(
            _total(clips, "return_delay"), _total(clips, "num_found_returns")
        ),
        "return_delay_seconds_mean": _ratio(
            _seconds(clips, "return_delay"), _total(clips, "num_found_returns")
        ),
        **_matched(matched_curve(clips, clips if free is None else free), rules),
        "stability": _mean_over_clips(clips, "stability", "num_stability_pairs"),
        "stability_of_truth": _mean_over_clips(clips, "reference_stability", "num_stability_pairs"),
        "ece": expected_calibration_error(counts) if has_pixels else None,
        "brier": brier_score(counts) if has_pixels else None,
    }


class MatchedCurve(NamedTuple):
    """Rate of alarms and sensitivity over the confidence: regions of a lower mean are not marked.

    Regions are connected pixels at or above `ClinicalRules.threshold`; confidences are the grey
    levels 0 to 255. All arrays are [256]: the share of polyp-free frames with an alarm, and of
    polyp frames in which the polyp is detected, or some of it is marked.
    """

    alarm_rate: FloatArray
    frame_sensitivity: FloatArray
    overlap_sensitivity: FloatArray


def matched_curve(clips: Sequence[ClipTally], free: Sequence[ClipTally]) -> MatchedCurve | None:
    """Return the curve of the polyp frames of `clips` and the polyp-free frames of `free`.

    None without a frame of either kind.
    """
    num_polyp, num_free = _total(clips, "num_polyp_frames"), _total(free, "num_free_frames")
    if not (num_polyp and num_free):
        return None
    return MatchedCurve(
        np.sum([clip.alarms for clip in free], axis=0) / num_free,
        np.sum([clip.detections for clip in clips], axis=0) / num_polyp,
        np.sum([clip.touches for clip in clips], axis=0) / num_polyp,
    )


def _matched(curve: MatchedCurve | None, rules: ClinicalRules) -> ClinicalScores:
    found: ClinicalScores = {}
    for rate in rules.alarm_rates:
        # Rates fall with the level; above the highest one nothing is marked, and nothing found.
        level = np.count_nonzero(curve.alarm_rate > rate) if curve else 0
        for name in ("frame_sensitivity", "overlap_sensitivity"):
            values = [*getattr(curve, name).tolist(), 0.0] if curve else [None]
            found[f"{name}_at_alarm_rate_{rate:g}"] = values[level]
    return found


def _total(clips: Sequence[ClipTally], name: str) -> float:
    return float(sum(getattr(clip, name) for clip in clips))


def _seconds(clips: Sequence[ClipTally], name: str) -> float:
    return float(sum(getattr(clip, name) / clip.frames_per_second for clip in clips))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _complement(share: float | None) -> float | None:
    return None if share is None else 1 - share


def _mean_over_clips(clips: Sequence[ClipTally], total: str, number: str) -> float | None:
    means = [
        getattr(clip, total) / getattr(clip, number) for clip in clips if getattr(clip, number)
    ]
    return float(np.mean(means)) if means else None
