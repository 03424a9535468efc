"""The figures of an evaluation, a training and a sweep.

Every function returns a figure; `sali.report.style.save` writes it as PNG and PDF, and `inline`
makes it part of a page. Names of scores are those of the tables: `dice_max`, `dice_mean` and
`dice_at_0.5` are three different numbers, so no axis says "Dice" alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from sali.metrics.calibration import brier_score, expected_calibration_error, reliability
from sali.metrics.counted_frame import BoolArray, FloatArray, IntArray
from sali.metrics.frame_quality import consecutive_runs
from sali.report.style import (
    ALERT,
    COLOURS,
    FINE,
    GREY,
    INK,
    PALE,
    SMALL,
    WIDTH,
    legend_below,
    legend_inches,
    new_figure,
    series_style,
    set_unit_limits,
    style_axes,
    wrapped,
)

FIXED_THRESHOLD, _FIXED_NAME = 0.5, "dice_vps_at_0.5"
NUM_BINS = 15
_LABEL_CHARACTERS = 34
_INSIDE: dict[str, Any] = dict(fontsize=SMALL, labelcolor=INK, framealpha=0.9, edgecolor=PALE)
"""Look of a legend within the axes."""
Interval = tuple[float, float, float]
"""A value, the low and the high end of its interval; NaN for ends that are not known."""


def precision_recall(
    curves: Mapping[str, tuple[FloatArray, FloatArray]], title: str = ""
) -> Figure:
    """Return precision [K] against recall [K] by label, over lines of equal F1 in grey.

    NaN is a gap in the line.
    """
    turned = {label: (recall, precision) for label, (precision, recall) in curves.items()}
    figure, axes, _ = _curves(4.6, turned, title, "recall (sensitivity)", "precision", grid="")
    for f1 in np.arange(1, 10) / 10:
        recall = np.geomspace(f1 / (2 - f1), 1, 100)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color=PALE, linewidth=0.8, zorder=0.5)
        axes.annotate(
            f"F1 {f1:.1f}",
            (1, f1 / (2 - f1)),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=FINE,
            color=GREY,
        )
    set_unit_limits(axes)
    axes.set_aspect("equal")
    return figure


def sensitivity_over_alarms(
    curves: Mapping[str, tuple[FloatArray, FloatArray]], title: str = ""
) -> Figure:
    """Return the share of detected polyp frames over that of polyp-free frames with an alarm.

    `curves` holds (alarms [K], detected [K]) by label, one value per confidence in order.
    """
    x_label, y_label = "polyp-free frames with an alarm", "polyp frames that are detected"
    figure, axes, _ = _curves(3.6, curves, title, x_label, y_label)
    set_unit_limits(axes)
    return figure


def dice_over_threshold(
    curves: Mapping[str, FloatArray], thresholds: FloatArray, title: str = ""
) -> Figure:
    """Return Dice over the threshold, with the three numbers that get published as "Dice".

    A round marker stands at `dice_max` and its threshold, a diamond at the lowest threshold that is
    not below 0.5, which for 8-bit maps is "probability >= 0.5". `dice_mean` is the mean over all
    thresholds. Curves [K] are of stretched maps, so that the value at 0.5 is not the `dice_at_0.5`
    of the tables. Thresholds [K] may have any order.
    """
    order = np.argsort(thresholds)
    levels = thresholds[order]
    fixed = int(np.searchsorted(levels, FIXED_THRESHOLD))
    figure = new_figure(WIDTH, 3.6 + legend_inches(2 * len(curves) + 1))
    axes = figure.add_subplot()
    axes.axvline(FIXED_THRESHOLD, color=GREY, linewidth=1, linestyle=":")
    handles, labels = [], []
    for index, (label, curve) in enumerate(curves.items()):
        dice = curve[order]
        best = int(dice.argmax())
        handles.append(_line(axes, index, label, levels, dice))
        for marker, point in (("o", best), ("D", fixed)):
            axes.plot(
                levels[point],
                dice[point],
                marker=marker,
                markersize=6.5,
                color=series_style(index).colour,
                markeredgecolor="white",
                zorder=3,
                clip_on=False,
            )
        labels.append(
            f"{label}\ndice_max {dice[best]:.3f} at {levels[best]:.2f},  "
            f"dice_mean {dice.mean():.3f},  {_FIXED_NAME} {dice[fixed]:.3f}"
        )
    style_axes(axes, title, "threshold", "Dice at the threshold")
    set_unit_limits(axes)
    markers = [Line2D([], [], color=GREY, marker=m, linestyle="", markersize=6.5) for m in "oD"]
    axes.legend(markers, ["dice_max", _FIXED_NAME], loc="lower center", **_INSIDE)
    legend_below(figure, handles, labels)
    return figure


def dice_over_time(
    clip: str,
    dice: FloatArray,
    bad_runs: Sequence[tuple[int, int]],
    has_polyp: BoolArray,
    metric: str,
) -> Figure:
    """Return a score [T] frame by frame, NaN for frames without one.

    Bad runs, (start, stop) with stop not included, are shaded; polyp-free frames are underlined.
    """
    num_frames = dice.size
    figure = new_figure(6.5, 3.1)
    axes = figure.add_subplot()
    is_bad = np.zeros(num_frames, np.bool_)
    for start, stop in bad_runs:
        axes.axvspan(start - 0.5, stop - 0.5, color=ALERT, alpha=0.2, linewidth=0)
        is_bad[start:stop] = True
    size = 4 if num_frames <= 300 else 2
    handles: list[Line2D | Patch] = [
        *axes.plot(dice, color=COLOURS[0], linewidth=1.2, marker=".", markersize=size, label=metric)
    ]
    labels = [_with_mean(metric, dice[has_polyp])]
    if is_bad.any():
        handles.append(Patch(facecolor=ALERT, alpha=0.2))
        labels.append(_with_mean("bad frames", dice[has_polyp & is_bad]))
    free = consecutive_runs(~has_polyp, min_length=1)
    if free:
        spans = [(start - 0.5, stop - start) for start, stop in free]
        axes.broken_barh(spans, (-0.08, 0.045), facecolor=GREY, linewidth=0)
        handles.append(Patch(facecolor=GREY))
        labels.append(f"no polyp ({np.count_nonzero(~has_polyp)} frames)")
    style_axes(axes, clip, "frame", metric)
    axes.set_xlim(-0.5, num_frames - 0.5)
    axes.set_ylim(-0.1 if free else -0.02, 1.03)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_below(figure, handles, labels, columns=len(labels))
    return figure


def calibration(counts: Mapping[str, IntArray], title: str = "") -> Figure:
    """Return a reliability diagram, and below it how many pixels each bin holds.

    Bins, ECE and Brier score are all computed from the same counts of pixels by truth (background,
    polyp) and grey level, [2, 256]: they cannot be mixed up.
    """
    figure = new_figure(WIDTH, 5.0 + legend_inches(len(counts) + 1))
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    diagonal = top.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    edges = np.linspace(0, 1, NUM_BINS + 1)
    handles, labels, pixels = [], [], []
    for index, (label, own) in enumerate(counts.items()):
        bins = reliability(own, NUM_BINS)
        filled = bins.weight > 0
        x, y = bins.confidence[filled], bins.frequency[filled]
        if len(counts) == 1:
            top.vlines(x, x, y, color=ALERT, alpha=0.45, linewidth=4)
        line = _line(top, index, label, x, y)
        line.set(marker=series_style(index).marker, markersize=4.5)
        handles.append(line)
        error = expected_calibration_error(own, NUM_BINS)
        labels.append(f"{label}: ECE {error:.4f}, Brier score {brier_score(own):.4f}")
        pixels.append(bins.weight * own.sum())
        bottom.stairs(
            np.where(pixels[-1] > 0, pixels[-1], np.nan),
            edges,
            fill=len(counts) == 1,
            color=line.get_color(),
            linewidth=1.6,
        )
    style_axes(top, title, ylabel="observed share of polyp pixels")
    set_unit_limits(top)
    inside = [*diagonal, Line2D([], [], color=ALERT, alpha=0.45, linewidth=4)]
    texts = ["perfectly calibrated", "gap"]
    shown = 2 if len(counts) == 1 else 1
    top.legend(inside[:shown], texts[:shown], loc="upper left", **_INSIDE)
    there = np.concatenate(pixels)
    there = there[there > 0]
    bottom.set_yscale("log")
    bottom.set_ylim(max(0.5, there.min() / 3), there.max() * 3)
    style_axes(bottom, xlabel="predicted probability of polyp", ylabel="pixels", grid="y")
    legend_below(figure, handles, labels)
    return figure


def intervals(
    scores: Mapping[str, Mapping[str, Interval]],
    metric: str,
    bars: str,
    reference: float | None = None,
    title: str = "",
) -> Figure:
    """Return one score by method, then by subset: a dot each, with its interval.

    Without an interval a dot is hollow. A method may lack subsets. `bars` says what the intervals
    are; at the reference, say 0 for differences, a vertical line is drawn.
    """
    subsets = list(dict.fromkeys(subset for row in scores.values() for subset in row))
    columns = 2 if max(map(len, scores)) <= 24 else 1
    per_row = max(0.4, 0.17 * len(scores) + 0.12)
    height = 0.95 + len(subsets) * per_row + legend_inches(-(-len(scores) // columns))
    figure = new_figure(WIDTH, height + 0.25 * bool(title))
    axes = figure.add_subplot()
    for row_index in range(0, len(subsets), 2):
        axes.axhspan(row_index - 0.5, row_index + 0.5, color=PALE, alpha=0.4, linewidth=0)
    if reference is not None:
        axes.axvline(reference, color=GREY, linewidth=1, linestyle="--")
    offsets = (np.arange(len(scores)) - (len(scores) - 1) / 2) * 0.8 / len(scores)
    handles = []
    for index, (offset, row) in enumerate(zip(offsets, scores.values(), strict=True)):
        colour, _, marker = series_style(index)
        dot = {"marker": marker, "markersize": 6.5, "color": colour}
        for subset, (value, low, high) in row.items():
            down = subsets.index(subset) + offset
            is_known = bool(np.isfinite(low))
            if is_known:
                axes.plot([low, high], [down, down], color=colour, linewidth=1.6)
            face = colour if is_known else "white"
            axes.plot([value], [down], markerfacecolor=face, linestyle="", **dot)  # type: ignore[arg-type]
        is_hollow = all(np.isnan(low) for _, low, _ in row.values())
        look = {"markerfacecolor": "white", "linewidth": 0} if is_hollow else {"linewidth": 1.6}
        handles.append(Line2D([], [], **dot, **look))  # type: ignore[arg-type]
    style_axes(axes, title, f"{metric}\nbars: {bars}", grid="x")
    axes.set_yticks(range(len(subsets)), subsets)
    axes.set_ylim(len(subsets) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=SMALL + 1)
    axes.spines["left"].set_visible(False)
    legend_below(figure, handles, list(scores), columns=columns)
    return figure


def over_steps(
    title: str, series: Mapping[str, FloatArray], y_label: str, is_share: bool = False
) -> Figure:
    """Return what a training logged, (step, value) [K, 2] by label; a share runs from 0 to 1."""
    curves = {label: (points[:, 0], points[:, 1]) for label, points in series.items()}
    figure, axes, lines = _curves(3.0, curves, title, "step", y_label)
    for line, points in zip(lines, series.values(), strict=True):
        if len(points) == 1:  # a line of one point cannot be seen
            line.set_marker("o")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if is_share:
        axes.set_ylim(0, 1)
    return figure


def settings(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    metric: str,
    published: Mapping[str, tuple[str, float]],
) -> Figure:
    """Return one score of a sweep: every seed, its mean and its spread, a panel per subset.

    A setting without a subset has a gap; published values, (label, value) by subset, are lines.
    """
    subsets = list(dict.fromkeys(subset for own in rows.values() for subset in own))
    labels = [wrapped(label, _LABEL_CHARACTERS) for label in rows]
    num_lines = sum(label.count("\n") + 1 for label in labels)
    figure = new_figure(WIDTH, len(subsets) * (0.75 + 0.32 * num_lines) + legend_inches(3))
    panels = figure.subplots(len(subsets), squeeze=False)[:, 0]
    for axes, subset in zip(panels, subsets, strict=True):
        for down, own in enumerate(rows.values()):
            values = own.get(subset, ())
            if values:
                seeds = {"color": GREY, "marker": "|", "markersize": 9, "linestyle": "none"}
                axes.plot(values, [down] * len(values), **seeds)
                axes.errorbar(
                    np.mean(values),
                    down,
                    xerr=np.std(values, ddof=1) if len(values) > 1 else 0,
                    color=COLOURS[0],
                    marker="o",
                    capsize=3,
                    linewidth=1.8,
                )
        style_axes(axes, subset, metric, grid="x")
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        if subset in published:
            axes.axvline(published[subset][1], color=ALERT, linestyle="--", linewidth=1)
    handles = [
        Line2D([], [], color=COLOURS[0], marker="o", linewidth=1.8),
        Line2D([], [], color=GREY, marker="|", linestyle="none"),
    ]
    texts = ["mean and sample standard deviation over seeds", "one seed"]
    for label in dict.fromkeys(published[x][0] for x in subsets if x in published):
        handles.append(Line2D([], [], color=ALERT, linestyle="--", linewidth=1))
        texts.append(label)
    legend_below(figure, handles, texts)
    return figure


def _curves(
    inches: float,
    curves: Mapping[str, tuple[FloatArray, FloatArray]],
    title: str,
    x_label: str,
    y_label: str,
    grid: str = "both",
) -> tuple[Figure, Axes, list[Line2D]]:
    """Draw (x [K], y [K]) by label over a legend; `inches` is the height without it."""
    figure = new_figure(WIDTH, inches + legend_inches(len(curves)))
    axes = figure.add_subplot()
    lines = [_line(axes, i, label, *pair) for i, (label, pair) in enumerate(curves.items())]
    style_axes(axes, title, x_label, y_label, grid)
    legend_below(figure, lines, list(curves))
    return figure, axes, lines


def _line(axes: Axes, index: int, label: str, x: FloatArray, y: FloatArray) -> Line2D:
    """Draw series number `index`; its label is that of the table of its values."""
    colour, style, _ = series_style(index)
    (line,) = axes.plot(x, y, style, label=label, color=colour, linewidth=1.8, clip_on=False)
    return line


def _with_mean(name: str, scores: FloatArray) -> str:
    """Add the mean of the scores that exist, if any does."""
    found = scores[~np.isnan(scores)]
    return f"{name} (mean {found.mean():.3f})" if found.size else name
