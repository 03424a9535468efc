"""Charts of a run: its training, and the curves of its test."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sali.metrics.calibration import (
    PROBABILITIES,
    brier_score,
    expected_calibration_error,
)
from sali.metrics.curves import confusion_at
from sali.report.chart import Chart, Interval, Series, interval_chart, line_chart, number
from sali.report.folder import RunFolder

_LOSS, _RATE, _HELD_OUT = "train/loss", "lr-", "val/"
_STRETCHED = "VPS: every map min-max stretched to 0-1 first."
_TABLE_EVERY = 15
"""Thresholds between two rows of a table."""
Named = dict[str, dict[str, np.ndarray]]


def training_charts(run: RunFolder, max_points: int) -> tuple[list[Chart], list[str]]:
    """Loss, held-out scores and learning rates over steps, and what could not be drawn."""
    logged, notes = {}, []
    for name, points in run.log().items():
        there = [point for point in points if math.isfinite(point[1])]
        if len(there) < len(points):
            notes.append(f"{name}: {len(points) - len(there)} logged values are not finite.")
        if there:
            logged[name] = there
    charts = []
    if _LOSS in logged:
        charts.append(_over_steps("Training loss", {"loss": logged[_LOSS]}, "loss", max_points))
    held_out = {
        name.removeprefix(_HELD_OUT): points
        for name, points in logged.items()
        if name.startswith((f"{_HELD_OUT}dice", f"{_HELD_OUT}iou"))
    }
    if held_out:
        title = "Held-out scores"
        charts.append(_over_steps(title, held_out, "mean over frames", max_points, "y"))
    rates: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for name, points in logged.items():
        if name.startswith(_RATE):
            rates.setdefault(tuple(points), []).append(name.removeprefix(_RATE))
    if rates:  # groups with and without weight decay have the same
        named = {", ".join(names): list(points) for points, names in rates.items()}
        charts.append(_over_steps("Learning rate", named, "learning rate", max_points))
    return charts, notes


def _over_steps(
    title: str,
    logged: dict[str, list[tuple[float, float]]],
    y_label: str,
    max_points: int,
    unit: str = "",
) -> Chart:
    series, notes = [], []
    for label, points in logged.items():
        thinned, every = _averaged(np.asarray(points, np.float64), max_points)
        series.append(Series(label, thinned[:, 0].tolist(), thinned[:, 1].tolist()))
        if every > 1:
            notes.append(f"{label}: means of {every} logged steps each.")
    return line_chart(title, series, "step", y_label, unit=unit, notes=notes)


def _averaged(points: np.ndarray, max_points: int) -> tuple[np.ndarray, int]:
    """Means [K, 2] of as many neighbours [N, 2] as it takes for K <= max_points."""
    every = -(-len(points) // max_points)
    starts = np.arange(0, len(points), every)
    sizes = np.diff([*starts, len(points)])[:, None]
    return np.add.reduceat(points, starts) / sizes, every


def test_charts(run: RunFolder) -> list[Chart]:
    """Dice over the threshold, precision over recall, calibration.

    Of one method, its subsets are lines of one chart; of several, there is a chart per subset.
    """
    stored = {method: run.curves(method) for method in run.methods}
    subsets = dict.fromkeys(
        key.partition("/")[0] for curves in stored.values() for key in curves if "/" in key
    )
    if len(stored) == 1:
        (curves,) = stored.values()
        return _charts("", {subset: _of(curves, subset) for subset in subsets})
    charts = []
    for subset in subsets:
        charts += _charts(subset, {m: _of(curves, subset) for m, curves in stored.items()})
    return charts


def _of(curves: dict[str, np.ndarray], subset: str) -> dict[str, np.ndarray]:
    """Curves of one subset, by their short names."""
    own = {k.partition("/")[2]: v for k, v in curves.items() if k.startswith(f"{subset}/")}
    return {**own, "thresholds": curves["thresholds"]} if own else {}


def _charts(subset: str, named: Named) -> list[Chart]:
    suffix = f", {subset}" if subset else ""
    charts = []
    dice = {name: own for name, own in named.items() if "dice" in own}
    if dice:
        charts.append(_dice_over_threshold(f"Dice over threshold{suffix}", dice))
    pairs = {name: own for name, own in dice.items() if "precision" in own}
    if pairs:
        charts.append(_precision_recall(f"Precision over recall{suffix}", pairs))
    elif any(own.get("pixels", np.zeros((2, 1)))[1].any() for own in named.values()):
        title = f"Precision over recall, pixels of all frames{suffix}"
        charts.append(_precision_recall_pixels(title, named))
    bins = {name: own for name, own in named.items() if "reliability_confidence" in own}
    if bins:
        charts.append(_reliability(f"Calibration{suffix}", bins))
    return charts


def _dice_over_threshold(title: str, named: Named) -> Chart:
    series, notes = [], [_STRETCHED]
    for name, own in named.items():
        dice, levels = own["dice"], own["thresholds"]
        best = int(dice.argmax())
        mark = (float(levels[best]), float(dice[best]), f"dice_max {dice[best]:.4f}")
        series.append(Series(name, levels[::-1].tolist(), dice[::-1].tolist(), (mark,)))
        notes.append(
            f"{name}: dice_max {dice[best]:.4f} at {levels[best]:.2f} (dot), "
            f"dice_mean {dice.mean():.4f}."
        )
    return line_chart(title, series, "threshold", "mean Dice", unit="xy", notes=notes)


def _precision_recall(title: str, named: Named) -> Chart:
    pairs = {name: (own["precision"], own["sensitivity"]) for name, own in named.items()}
    levels = next(iter(named.values()))["thresholds"]
    return _over_recall(title, pairs, levels, [_STRETCHED])


def _precision_recall_pixels(title: str, named: Named) -> Chart:
    pairs = {}
    for name, own in named.items():
        if own.get("pixels", np.zeros((2, 1)))[1].any():
            found = confusion_at(own["pixels"], PROBABILITIES, PROBABILITIES)
            with np.errstate(invalid="ignore"):
                pairs[name] = (
                    found.true_positive / (found.true_positive + found.false_positive),
                    found.true_positive / (found.true_positive + found.false_negative),
                )
    return _over_recall(title, pairs, PROBABILITIES, [])


def _over_recall(
    title: str,
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
    levels: np.ndarray,
    notes: Sequence[str],
) -> Chart:
    series = [Series(name, r.tolist(), p.tolist()) for name, (p, r) in pairs.items()]
    header = ["threshold", *(f"{n}: {what}" for n in pairs for what in ("precision", "recall"))]
    rows = [
        [number(float(levels[i])), *(_text(v[i]) for pair in pairs.values() for v in pair)]
        for i in range(0, len(levels), _TABLE_EVERY)
    ]
    return line_chart(
        title, series, "recall", "precision", unit="xy", notes=notes, table=(header, rows)
    )


def _text(value: float) -> str:
    return number(float(value)) if np.isfinite(value) else "-"


def _reliability(title: str, named: Named) -> Chart:
    series, notes = [], []
    for name, own in named.items():
        filled = own["reliability_weight"] > 0
        x, y = (own[f"reliability_{what}"][filled] for what in ("confidence", "frequency"))
        marks = tuple((float(a), float(b), "") for a, b in zip(x, y, strict=True))
        series.append(Series(name, x.tolist(), y.tolist(), marks))
        error = expected_calibration_error(own["pixels"])
        notes.append(f"{name}: ECE {error:.4f}, Brier score {brier_score(own['pixels']):.4f}.")
    return line_chart(
        title,
        series,
        "predicted probability of polyp",
        "observed share of polyp pixels",
        unit="xy",
        guide="perfectly calibrated",
        notes=notes,
    )


def difference_chart(differences: Sequence[dict[str, Any]]) -> Chart | None:
    """Differences in Dice with their intervals; None without any."""
    every = dict.fromkeys(name for one in differences for name in one["intervals"])
    wanted = [name for name in every if name == "dice_max" or name.startswith("dice_at_")]
    if not wanted:
        return None
    rows = [
        Interval(
            f"{one['subset']}: {one['method']} minus {one['reference']}",
            *(one["intervals"][wanted[0]][part] for part in ("difference", "low", "high")),
        )
        for one in differences
        if wanted[0] in one["intervals"]
    ]
    return interval_chart("Differences", rows, f"difference in {wanted[0]}", zero="no difference")
