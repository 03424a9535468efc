"""Differences between methods, with intervals over clips."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sali.errors import ConfigError
from sali.evaluation.clip_result import ClipResult
from sali.evaluation.results import MethodResults
from sali.evaluation.settings import Settings
from sali.metrics.bootstrap import Interval, Statistic, paired_bootstrap
from sali.metrics.counted_frame import FloatArray
from sali.metrics.vps import scores as vps_scores


class Difference(NamedTuple):
    """One method against the reference on one subset.

    Attributes:
        subset: Subset of the comparison.
        method: Name of the compared method.
        reference: Minus which.
        clips: Number of clips that both have.
        intervals: Of the differences method - reference, by score.
    """

    subset: str
    method: str
    reference: str
    clips: int
    intervals: dict[str, Interval]


def differences(methods: Sequence[MethodResults]) -> list[Difference]:
    """Compare all methods with the reference, subset by subset.

    The draws of clips are the same for all methods and scores.

    Raises:
        ConfigError: The reference is not one of the methods.
    """
    settings = methods[0].settings
    names = [method.name for method in methods]
    if settings.reference is not None and settings.reference not in names:
        raise ConfigError(f"reference {settings.reference!r} is not one of {', '.join(names)}")
    found = []
    for subset in methods[0].subsets:
        reference = _reference(methods, subset)
        if reference is None:
            continue
        for method in methods:
            if method is not reference:
                found += _compare(method, reference, subset, settings)
    return found


def dice_max_intervals(method: MethodResults) -> dict[str, dict[str, float | None]]:
    """Return dice_max of one method with its interval over clips, by subset.

    Returns:
        {subset: {"value", "low", "high"}}; the ends are None where there is one clip only. Subsets
        without a clip are left out.
    """
    found: dict[str, dict[str, float | None]] = {}
    for subset in method.subsets:
        clips = method.in_vps(method.of(subset))
        if len(clips) > 1:
            ours = np.stack([clip.whole.vector for clip in clips])
            # Against a method that scores 0, the difference is the score itself.
            interval = _bootstrap([ours, np.zeros_like(ours)], method.settings, vps_scores)
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
    ranked = []
    for method in methods:
        scores = method.scores(method.of(subset))
        value = scores.get("dice_max", scores.get(overlap))
        if value is not None:
            ranked.append((value, method))
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _compare(
    method: MethodResults, reference: MethodResults, subset: str, settings: Settings
) -> list[Difference]:
    ours = {clip.name: clip for clip in method.of(subset)}
    pairs = [(ours[clip.name], clip) for clip in reference.of(subset) if clip.name in ours]
    intervals: dict[str, Interval] = {}
    counted = [(a, b) for a, b in pairs if not (method.left_out(a) or reference.left_out(b))]
    number = 0
    if settings.with_vps and len(counted) > 1:
        number = len(counted)
        sides = [np.stack([pair[side].whole.vector for pair in counted]) for side in (0, 1)]
        intervals |= _bootstrap(sides, settings, vps_scores)
    if (settings.with_clinical or settings.frame_metrics) and len(pairs) > 1:
        number = max(number, len(pairs))
        sides = [_ratios([pair[side] for pair in pairs], settings) for side in (0, 1)]
        intervals |= _bootstrap(sides, settings, _ratio_statistic(settings))
    return [Difference(subset, method.name, reference.name, number, intervals)] if intervals else []


def _bootstrap(
    sides: Sequence[FloatArray], settings: Settings, statistic: Statistic
) -> dict[str, Interval]:
    bootstrap = settings.bootstrap
    ours, theirs = sides
    found = paired_bootstrap(
        ours,
        theirs,
        np.random.default_rng(bootstrap.seed),
        num_resamples=bootstrap.num_resamples,
        confidence=bootstrap.confidence,
        statistic=statistic,
    )
    # A draw without, say, a single polyp-free frame has no rate, and then there is no interval.
    return {name: interval for name, interval in found.items() if np.isfinite(interval).all()}


def _ratio_names(settings: Settings) -> list[str]:
    level = f"{settings.clinical.threshold:g}"
    clinical = [
        *(f"dice_at_{level}", f"iou_at_{level}"),
        *("frame_sensitivity", "frame_specificity", "polyp_sensitivity"),
    ]
    return [*(clinical if settings.with_clinical else ()), *settings.frame_metrics]


def _ratios(clips: Sequence[ClipResult], settings: Settings) -> FloatArray:
    """Return numerators and denominators [N, 2 S] of S scores that are ratios of sums."""
    return np.asarray(
        [
            [*(_clinical_ratios(clip) if settings.with_clinical else ()), *_metrics(clip, settings)]
            for clip in clips
        ],
        np.float64,
    )


def _metrics(clip: ClipResult, settings: Settings) -> Iterator[float]:
    for name, metric in settings.frame_metrics.items():
        total, number = clip.whole.metrics[name]
        is_mean = metric.over == "clips" and number > 0
        yield from (total / number, 1.0) if is_mean else (total, float(number))


def _clinical_ratios(clip: ClipResult) -> list[float]:
    tally = clip.whole.tally
    has_overlap = float(tally.num_overlap_frames > 0)
    number = max(tally.num_overlap_frames, 1)
    free = tally.num_free_frames
    return [
        *(tally.dice / number, has_overlap),
        *(tally.iou / number, has_overlap),
        *(tally.num_detected_frames, tally.num_polyp_frames),
        *(free - tally.num_false_positive_frames, free),
        *(float(tally.num_detected_frames > 0), float(tally.num_polyp_frames > 0)),
    ]


def _ratio_statistic(settings: Settings) -> Statistic:
    names = _ratio_names(settings)

    def statistic(means: FloatArray) -> dict[str, FloatArray]:
        numerators, denominators = means[:, ::2], means[:, 1::2]
        values = np.full_like(numerators, np.nan)
        np.divide(numerators, denominators, out=values, where=denominators > 0)
        return {name: values[:, index] for index, name in enumerate(names)}

    return statistic
