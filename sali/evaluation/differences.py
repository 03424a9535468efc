"""Differences between methods, with intervals over clips."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sali.evaluation.clip_result import ClipResult
from sali.evaluation.results import MethodResults
from sali.evaluation.settings import Settings
from sali.metrics.bootstrap import Interval, Statistic, paired_bootstrap
from sali.metrics.counted_frame import FloatArray
from sali.metrics.vps import scores as vps_scores


def differences(methods: Sequence[MethodResults]) -> list[dict[str, Any]]:
    """Compare all methods with the reference, subset by subset.

    The draws of clips are the same for all methods and scores.

    Returns:
        One entry for each comparison: "subset", "method", "reference", "clips" (that both have),
        and "intervals" of the differences method - reference by score.
    """
    found = []
    for subset in methods[0].by_subset:
        reference = _reference(methods, subset)
        if reference is None:
            continue
        for method in methods:
            if method is not reference:
                found += _compare(method, reference, subset)
    return found


def dice_max_intervals(method: MethodResults) -> dict[str, dict[str, float | None]]:
    """Return dice_max of one method with its interval over clips, by subset.

    Returns:
        {subset: {"value", "low", "high"}}; the ends are None where there is one clip only. Subsets
        without a clip are left out.
    """
    found: dict[str, dict[str, float | None]] = {}
    for subset, every in method.by_subset.items():
        clips = method.in_vps(every)
        if len(clips) > 1:
            ours = np.stack([clip.whole.vector for clip in clips])
            # Against a method that scores 0, the difference is the score itself.
            interval = _bootstrap([ours, np.zeros_like(ours)], method.settings)
            found[subset] = dict(zip(("value", "low", "high"), interval["dice_max"], strict=True))
        elif clips:
            value = method.vps_scores(clips)["dice_max"]
            found[subset] = {"value": value, "low": None, "high": None}
    return found


def _reference(methods: Sequence[MethodResults], subset: str) -> MethodResults | None:
    """Return the method asked for, else the best of a subset by Dice; None without a score."""
    settings = methods[0].settings
    if settings.reference is not None:
        return next(method for method in methods if method.name == settings.reference)
    overlap = f"dice_at_{settings.clinical.threshold:g}"
    best, highest = None, -math.inf
    for method in methods:
        scores = method.scores(method.by_subset[subset])
        value = scores.get("dice_max", scores.get(overlap))
        if value is not None and value > highest:
            best, highest = method, value
    return best


def _compare(method: MethodResults, reference: MethodResults, subset: str) -> list[dict[str, Any]]:
    settings = method.settings
    ours = {clip.name: clip for clip in method.by_subset[subset]}
    pairs = [(ours[clip.name], clip) for clip in reference.by_subset[subset] if clip.name in ours]
    intervals: dict[str, Interval] = {}
    counted = [(a, b) for a, b in pairs if not (method.left_out(a) or reference.left_out(b))]
    number = 0
    if settings.with_vps and len(counted) > 1:
        number = len(counted)
        sides = [np.stack([pair[side].whole.vector for pair in counted]) for side in (0, 1)]
        intervals |= _bootstrap(sides, settings)
    if (settings.with_clinical or settings.frame_metrics) and len(pairs) > 1:
        number = max(number, len(pairs))
        ratios = [[_ratios(pair[side], settings) for pair in pairs] for side in (0, 1)]
        sides = [
            np.asarray([np.ravel([*one.values()]) for one in side], np.float64) for side in ratios
        ]
        intervals |= _bootstrap(sides, settings, _ratio_statistic([*ratios[0][0]]))
    if not intervals:
        return []
    names = {"subset": subset, "method": method.name, "reference": reference.name}
    shown = {name: interval._asdict() for name, interval in intervals.items()}
    return [{**names, "clips": number, "intervals": shown}]


def _bootstrap(
    sides: Sequence[FloatArray], settings: Settings, statistic: Statistic = vps_scores
) -> dict[str, Interval]:
    ours, theirs = sides
    found = paired_bootstrap(ours, theirs, settings.bootstrap, statistic)
    # A draw without, say, a single polyp-free frame has no rate, and then there is no interval.
    return {name: interval for name, interval in found.items() if np.isfinite(interval).all()}


def _ratios(clip: ClipResult, settings: Settings) -> dict[str, tuple[float, float]]:
    """Return numerator and denominator of the scores that are ratios of sums over clips."""
    found: dict[str, tuple[float, float]] = {}
    if settings.with_clinical:
        tally, level = clip.whole.tally, f"{settings.clinical.threshold:g}"
        number, free = tally.num_overlap_frames, tally.num_free_frames
        detected, polyp = tally.num_detected_frames, tally.num_polyp_frames
        found = {
            f"dice_at_{level}": (tally.dice / max(number, 1), number > 0),
            f"iou_at_{level}": (tally.iou / max(number, 1), number > 0),
            "frame_sensitivity": (detected, polyp),
            "frame_specificity": (free - tally.num_false_positive_frames, free),
            "polyp_sensitivity": (detected > 0, polyp > 0),
        }
    for name, metric in settings.frame_metrics.items():
        total, count = clip.whole.metrics[name]
        is_mean = metric.over == "clips" and count > 0
        found[name] = (total / count, 1) if is_mean else (total, count)
    return found


def _ratio_statistic(names: Sequence[str]) -> Statistic:
    def statistic(means: FloatArray) -> dict[str, FloatArray]:
        numerators, denominators = means[:, ::2], means[:, 1::2]
        values = np.full_like(numerators, np.nan)
        np.divide(numerators, denominators, out=values, where=denominators > 0)
        return {name: values[:, index] for index, name in enumerate(names)}

    return statistic
