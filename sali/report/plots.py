"""The figures of an evaluation, each written as PNG and PDF.

Every function takes arrays and the path of the files without their ending, writes both files and
returns the figure. Names of scores are those of the reports: `dice_max`, `dice_mean` and
`dice_at_0.5` are three different numbers, so no axis says "Dice" alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from sali.metrics.counted_frame import FloatArray
from sali.metrics.frame_quality import consecutive_runs
from sali.report.overview import (
    WorstFrame,
    plot_method_comparison,
    plot_reliability,
    plot_worst_frames,
)
from sali.report.style import (
    ALERT,
    COLOURS,
    FINE,
    GREY,
    INK,
    PALE,
    SMALL,
    WIDTH,
    check_not_empty,
    legend_below,
    legend_inches,
    new_figure,
    save,
    series_style,
    set_unit_limits,
    style_axes,
    unit_values,
)

__all__ = [
    "WorstFrame",
    "plot_dice_over_threshold",
    "plot_dice_over_time",
    "plot_method_comparison",
    "plot_precision_recall",
    "plot_reliability",
    "plot_worst_frames",
    "save",
]

FIXED_THRESHOLD = 0.5


def plot_precision_recall(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], stem: Path | str, *, title: str = ""
) -> Figure:
    """Precision against recall, over lines of equal F1 in grey.

    Args:
        curves: (precision [K], recall [K]) by label, one value per threshold in order. Precision
            may be NaN where nothing is marked: the line has a gap there.
        stem: path of the files without ending.
        title: set above the axes.

    Raises:
        ValueError: without a curve, for shapes that differ, or values outside [0, 1].
    """
    check_not_empty("curves", curves)
    figure = new_figure(WIDTH, 4.6 + legend_inches(len(curves)))
    axes = figure.add_subplot()
    _draw_equal_f1(axes)
    lines = []
    for index, (label, (precision, recall)) in enumerate(curves.items()):
        recalls = unit_values(f"recall of {label}", recall)
        precisions = unit_values(f"precision of {label}", precision, recalls.size, allow_nan=True)
        style = series_style(index)
        lines += axes.plot(
            recalls,
            precisions,
            color=style.colour,
            linestyle=style.line,
            linewidth=1.8,
            clip_on=False,
        )
    style_axes(axes, title, "recall (sensitivity)", "precision", grid="")
    set_unit_limits(axes)
    axes.set_aspect("equal")
    legend_below(figure, lines, list(curves))
    save(figure, stem)
    return figure


def plot_dice_over_threshold(
    curves: Mapping[str, ArrayLike],
    thresholds: ArrayLike,
    stem: Path | str,
    *,
    title: str = "",
    fixed_name: str = "dice_at_0.5",
) -> Figure:
    """Dice of data sets over the threshold, with the three numbers that get published as "Dice".

    A round marker stands at `dice_max` and its threshold, a diamond at `dice_at_0.5`: the value
    at the lowest threshold that is not below 0.5, which for 8-bit maps is "probability >= 0.5".
    `dice_mean` is the mean over all thresholds.

    Args:
        curves: Dice [K] by label.
        thresholds: [K], all different, in any order.
        stem: path of the files without ending.
        title: set above the axes.
        fixed_name: what the value at 0.5 is called; of curves of stretched maps it is not the
            `dice_at_0.5` of reports.

    Raises:
        ValueError: without a curve, for shapes that differ, values outside [0, 1], or thresholds
            that repeat or all lie below 0.5.
    """
    check_not_empty("curves", curves)
    levels = unit_values("thresholds", thresholds)
    if np.unique(levels).size != levels.size or levels.max() < FIXED_THRESHOLD:
        raise ValueError(
            f"thresholds: got {np.unique(levels).size} different ones of {levels.size} up to "
            f"{levels.max():g}, wanted all different and one of at least {FIXED_THRESHOLD}"
        )
    order = np.argsort(levels)
    levels = levels[order]
    fixed = int(np.searchsorted(levels, FIXED_THRESHOLD))
    figure = new_figure(WIDTH, 3.6 + legend_inches(2 * len(curves) + 1))
    axes = figure.add_subplot()
    axes.axvline(FIXED_THRESHOLD, color=GREY, linewidth=1, linestyle=":")
    handles: list[Artist] = []
    labels = []
    for index, (label, curve) in enumerate(curves.items()):
        dice = unit_values(f"Dice of {label}", curve, levels.size)[order]
        best = int(dice.argmax())
        style = series_style(index)
        handles += axes.plot(levels, dice, color=style.colour, linestyle=style.line, linewidth=1.8)
        for marker, point in (("o", best), ("D", fixed)):
            axes.plot(
                levels[point],
                dice[point],
                marker=marker,
                markersize=6.5,
                color=style.colour,
                markeredgecolor="white",
                zorder=3,
                clip_on=False,
            )
        labels.append(
            f"{label}\ndice_max {dice[best]:.3f} at {levels[best]:.2f},  "
            f"dice_mean {dice.mean():.3f},  {fixed_name} {dice[fixed]:.3f}"
        )
    style_axes(axes, title, "threshold", "Dice at the threshold")
    set_unit_limits(axes)
    markers = [
        Line2D([], [], color=GREY, marker=marker, linestyle="", markersize=6.5) for marker in "oD"
    ]
    axes.legend(
        markers,
        ["dice_max", fixed_name],
        loc="lower center",
        fontsize=SMALL,
        labelcolor=INK,
        framealpha=0.9,
    )
    legend_below(figure, handles, labels)
    save(figure, stem)
    return figure


def plot_dice_over_time(
    clip: str,
    dice: ArrayLike,
    stem: Path | str,
    bad_runs: Sequence[tuple[int, int]],
    has_polyp: ArrayLike,
    fps: float | None = None,
    *,
    metric: str = "dice_at_0.5",
) -> Figure:
    """A score frame by frame, with runs of bad frames shaded and polyp-free frames underlined.

    Args:
        clip: name of the clip.
        dice: [T], NaN for frames without a score.
        stem: path of the files without ending.
        bad_runs: (start, stop) of each run, stop not included, as from
            `sali.metrics.frame_quality.consecutive_runs`.
        has_polyp: whether the ground truth shows a polyp, bool [T].
        fps: frames per second; the axis counts frames if None.
        metric: name of the score.

    Raises:
        ValueError: for shapes that differ, values outside [0, 1], a run outside the clip, or a
            frame rate that is not positive.
    """
    scores = unit_values(f"dice of {clip}", dice, allow_nan=True)
    num_frames = scores.size
    shown = np.asarray(has_polyp)
    if shown.dtype != np.bool_ or shown.shape != scores.shape:
        raise ValueError(f"has_polyp: got {shown.dtype} {shown.shape}, wanted bool {scores.shape}")
    for start, stop in bad_runs:
        if not 0 <= start < stop <= num_frames:
            raise ValueError(
                f"bad_runs: got ({start}, {stop}), wanted 0 <= start < stop <= {num_frames}"
            )
    if fps is not None and not fps > 0:
        raise ValueError(f"fps: got {fps}, wanted more than 0, or None to count frames")
    step = 1 / (fps or 1)
    figure = new_figure(6.5, 3.1)
    axes = figure.add_subplot()
    is_bad = np.zeros(num_frames, np.bool_)
    for start, stop in bad_runs:
        axes.axvspan((start - 0.5) * step, (stop - 0.5) * step, color=ALERT, alpha=0.2, linewidth=0)
        is_bad[start:stop] = True
    handles: list[Artist] = list(
        axes.plot(
            np.arange(num_frames) * step,
            scores,
            color=COLOURS[0],
            linewidth=1.2,
            marker=".",
            markersize=4 if num_frames <= 300 else 2,
        )
    )
    labels = [_with_mean(metric, scores[shown])]
    if is_bad.any():
        handles.append(Patch(facecolor=ALERT, alpha=0.2))
        labels.append(_with_mean("bad frames", scores[shown & is_bad]))
    polyp_free = consecutive_runs(~shown, min_length=1)
    if polyp_free:
        spans = [((start - 0.5) * step, (stop - start) * step) for start, stop in polyp_free]
        axes.broken_barh(spans, (-0.08, 0.045), facecolor=GREY, linewidth=0)
        handles.append(Patch(facecolor=GREY))
        labels.append(f"no polyp ({np.count_nonzero(~shown)} frames)")
    style_axes(axes, clip, "frame" if fps is None else "time (s)", metric)
    axes.set_xlim(-0.5 * step, (num_frames - 0.5) * step)
    axes.set_ylim(-0.1 if polyp_free else -0.02, 1.03)
    axes.set_yticks(np.linspace(0, 1, 6))
    if fps is None:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_below(figure, handles, labels, columns=len(labels))
    save(figure, stem)
    return figure


def _draw_equal_f1(axes: Axes) -> None:
    """Grey lines on which the harmonic mean of precision and recall is 0.1, 0.2, ... 0.9."""
    for f1 in np.arange(1, 10) / 10:
        recall = np.geomspace(f1 / (2 - f1), 1, 100)
        precision = f1 * recall / (2 * recall - f1)
        axes.plot(recall, precision, color=PALE, linewidth=0.8, zorder=0.5)
        axes.annotate(
            f"F1 {f1:.1f}",
            (1, precision[-1]),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=FINE,
            color=GREY,
        )


def _with_mean(name: str, scores: FloatArray) -> str:
    """Adds the mean of the scores that exist, if any does."""
    found = scores[~np.isnan(scores)]
    return f"{name} (mean {found.mean():.3f})" if found.size else name
