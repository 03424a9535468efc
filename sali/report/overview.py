"""Figures of whole data sets: the worst frames, calibration, methods side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from sali.metrics.calibration import brier_score, expected_calibration_error, reliability
from sali.metrics.counted_frame import NUM_LEVELS, ByteArray, IntArray, as_mask
from sali.report.overlay import PREDICTION_RGB, TRUTH_RGB, draw_overlay
from sali.report.style import (
    ALERT,
    COLOURS,
    GREY,
    INK,
    PAD_INCHES,
    PALE,
    SMALL,
    TITLE,
    WIDTH,
    check_not_empty,
    legend_below,
    legend_inches,
    new_figure,
    save,
    series_style,
    set_unit_limits,
    style_axes,
    wrapped,
)

_CELL_INCHES = 2.3
# Of a frame's longer side; 200 per inch of a cell.
_CELL_PIXELS = 460
_TITLE_POINTS = 8.0
_TITLE_LINE_INCHES = 0.145
_TITLE_CHARACTERS = 32


class WorstFrame(NamedTuple):
    """One picture of a contact sheet.

    Attributes:
        frame: RGB, uint8 [H, W, 3].
        prediction: map, uint8 [H, W], or probability, floating [H, W].
        mask: ground truth, bool [H, W], or uint8 [H, W] in which more than 128 is foreground.
        title: what the frame is called, and its score; long lines are wrapped.
    """

    frame: ByteArray
    prediction: NDArray[np.uint8 | np.floating]
    mask: NDArray[np.bool_ | np.uint8]
    title: str


def plot_worst_frames(
    items: Sequence[WorstFrame | tuple[ByteArray, NDArray[Any], NDArray[Any], str]],
    stem: Path | str,
    columns: int = 3,
    *,
    threshold: float = 0.5,
    title: str = "",
) -> Figure:
    """A contact sheet of frames with truth and prediction drawn over them.

    Args:
        items: what to show, worst first; see `WorstFrame`. Sizes may differ.
        stem: path of the files without ending.
        columns: pictures in a row.
        threshold: of the prediction's contour.
        title: set above the sheet.

    Raises:
        ValueError: without an item, for `columns` below 1, or arrays not as stated.
    """
    check_not_empty("items", items)
    if columns < 1:
        raise ValueError(f"columns: got {columns}, wanted at least 1")
    pictures = [_worst_picture(WorstFrame(*item), threshold) for item in items]
    titles = [wrapped(item[3], _TITLE_CHARACTERS) for item in items]
    columns = min(columns, len(items))
    num_rows = -(-len(items) // columns)
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    row_inches = (
        (_CELL_INCHES - 2 * PAD_INCHES) * tallest
        + _TITLE_LINE_INCHES * max(text.count("\n") + 1 for text in titles)
        + 3 * PAD_INCHES
    )
    figure = new_figure(
        max(_CELL_INCHES * columns, WIDTH), row_inches * num_rows + 0.5 + 0.3 * bool(title)
    )
    cells = figure.subplots(num_rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis("off")
        axes.set_anchor("N")
    for axes, picture, text in zip(cells, pictures, titles, strict=False):
        axes.imshow(picture, interpolation="antialiased")
        axes.set_title(
            text, loc="left", fontsize=_TITLE_POINTS, color=INK, family="monospace", pad=3
        )
    if title:
        figure.suptitle(title, fontsize=TITLE, color=INK)
    handles = [
        Patch(facecolor="#{:02X}{:02X}{:02X}".format(*colour), edgecolor=INK, linewidth=0.6)
        for colour in (TRUTH_RGB, PREDICTION_RGB)
    ]
    legend_below(
        figure, handles, ["truth", f"prediction at {threshold:g} (tint: probability)"], columns=2
    )
    save(figure, stem)
    return figure


def plot_reliability(
    counts: IntArray, stem: Path | str, *, num_bins: int = 15, title: str = ""
) -> Figure:
    """Reliability diagram, and below it how many pixels each bin holds.

    Bins, ECE and Brier score are all computed from the same counts: they cannot be mixed up.

    Args:
        counts: pixels by truth (background, polyp) and grey level, [2, 256], as from
            `sali.metrics.counted_frame.joint_counts`, added up over frames.
        stem: path of the files without ending.
        num_bins: number of bins of equal width.
        title: set above ECE and Brier score.

    Raises:
        ValueError: for another shape, counts of no pixel, or a number of bins out of range.
    """
    counts = np.asarray(counts)
    if counts.shape != (2, NUM_LEVELS) or (counts < 0).any():
        raise ValueError(f"counts: got {counts.shape}, wanted [2, {NUM_LEVELS}], none below 0")
    bins = reliability(counts, num_bins)
    figure = new_figure(WIDTH, 5.4)
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    filled = bins.weight > 0
    top.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    top.vlines(
        bins.confidence[filled],
        bins.confidence[filled],
        bins.frequency[filled],
        color=ALERT,
        alpha=0.45,
        linewidth=4,
    )
    top.plot(
        bins.confidence[filled],
        bins.frequency[filled],
        color=COLOURS[0],
        marker="o",
        markersize=4.5,
        linewidth=1.8,
        clip_on=False,
        zorder=3,
    )
    heading = (
        f"ECE {expected_calibration_error(counts, num_bins):.4f} ({num_bins} bins), "
        f"Brier score {brier_score(counts):.4f}"
    )
    style_axes(
        top, f"{title}\n{heading}" if title else heading, ylabel="observed share of polyp pixels"
    )
    set_unit_limits(top)
    top.legend(
        [
            top.lines[1],
            top.lines[0],
            Line2D([], [], color=ALERT, alpha=0.45, linewidth=4),
        ],
        ["observed", "perfectly calibrated", "gap"],
        loc="upper left",
        fontsize=SMALL,
        labelcolor=INK,
        framealpha=0.9,
    )
    edges = np.arange(num_bins) / num_bins
    pixels = bins.weight[filled] * counts.sum()
    bottom.bar(
        edges[filled], pixels, 1 / num_bins, align="edge", color=COLOURS[0], edgecolor="white"
    )
    bottom.set_yscale("log")
    bottom.set_ylim(max(0.5, pixels.min() / 3), pixels.max() * 3)
    style_axes(bottom, xlabel="predicted probability of polyp", ylabel="pixels", grid="y")
    save(figure, stem)
    return figure


def plot_method_comparison(
    scores: Mapping[str, Mapping[str, tuple[float, float, float]]],
    stem: Path | str,
    *,
    metric: str,
    bars: str = "95 % interval over clips",
    reference: float | None = None,
    title: str = "",
) -> Figure:
    """One metric of several methods on several subsets: a dot each, with its interval.

    Args:
        scores: by method, then by subset: (value, low, high). Low and high may be NaN, say for
            published values: a hollow dot without a bar. A method may lack subsets. Differences
            from `sali.metrics.bootstrap.paired_bootstrap` fit as well.
        stem: path of the files without ending.
        metric: name of the metric.
        bars: what the intervals are.
        reference: where to draw a vertical line, say 0 for differences.
        title: set above the axes.

    Raises:
        ValueError: without a score, for a value that is not finite, or low above high.
    """
    check_not_empty("scores", scores)
    subsets = list(dict.fromkeys(subset for row in scores.values() for subset in row))
    check_not_empty("scores", subsets)
    for method, row in scores.items():
        for subset, (value, low, high) in row.items():
            is_interval = np.isfinite([low, high]).all() and low <= high
            is_absent = np.isnan([low, high]).all()
            if not (np.isfinite(value) and (is_interval or is_absent)):
                raise ValueError(
                    f"scores of {method} on {subset}: got ({value}, {low}, {high}), wanted a "
                    "finite value and low <= high, or NaN for both where there is no interval"
                )
    legend_columns = 2 if max(map(len, scores)) <= 24 else 1
    figure = new_figure(
        WIDTH,
        0.95
        + len(subsets) * max(0.4, 0.17 * len(scores) + 0.12)
        + legend_inches(-(-len(scores) // legend_columns))
        + 0.25 * bool(title),
    )
    axes = figure.add_subplot()
    for row_index in range(0, len(subsets), 2):
        axes.axhspan(row_index - 0.5, row_index + 0.5, color=PALE, alpha=0.4, linewidth=0)
    if reference is not None:
        axes.axvline(reference, color=GREY, linewidth=1, linestyle="--")
    offsets = (np.arange(len(scores)) - (len(scores) - 1) / 2) * 0.8 / len(scores)
    handles: list[Artist] = []
    for index, (offset, row) in enumerate(zip(offsets, scores.values(), strict=True)):
        style = series_style(index)
        for subset, (value, low, high) in row.items():
            height = subsets.index(subset) + offset
            has_interval = bool(np.isfinite(low))
            if has_interval:
                axes.plot([low, high], [height, height], color=style.colour, linewidth=1.6)
            axes.plot(
                value,
                height,
                marker=style.marker,
                markersize=6.5,
                color=style.colour,
                markerfacecolor=style.colour if has_interval else "white",
                linestyle="",
            )
        is_hollow = all(np.isnan(low) for _, low, _ in row.values())
        handles.append(
            Line2D(
                [],
                [],
                color=style.colour,
                marker=style.marker,
                markersize=6.5,
                markerfacecolor="white" if is_hollow else style.colour,
                linewidth=0 if is_hollow else 1.6,
            )
        )
    style_axes(axes, title, f"{metric}\nbars: {bars}", grid="x")
    axes.set_yticks(range(len(subsets)), subsets)
    axes.set_ylim(len(subsets) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=SMALL + 1)
    axes.spines["left"].set_visible(False)
    legend_below(figure, handles, list(scores), columns=legend_columns)
    save(figure, stem)
    return figure


def _worst_picture(item: WorstFrame, threshold: float) -> ByteArray:
    """Checks an item and draws its overlay at the size of a cell, so that contours stay visible."""
    frame = np.asarray(item.frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise ValueError(
            f"frame of {item.title!r}: got {frame.dtype} {frame.shape}, wanted uint8 [H, W, 3]"
        )
    probability, mask = np.asarray(item.prediction), as_mask(item.mask)
    if probability.dtype == np.uint8:
        probability = probability / 255
    size = frame.shape[:2]
    if not size == probability.shape == mask.shape:
        raise ValueError(
            f"{item.title!r}: got frame {size}, map {probability.shape} and ground truth "
            f"{mask.shape}, wanted the same height and width"
        )
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError(
            f"map of {item.title!r}: got {probability.dtype} from {probability.min():g} to "
            f"{probability.max():g}, wanted uint8, or probabilities from 0 to 1"
        )
    scale = _CELL_PIXELS / max(size)
    shape = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return draw_overlay(
        cv2.resize(frame, shape, interpolation=smooth),
        cv2.resize(probability.astype(np.float32), shape, interpolation=smooth),
        cv2.resize(mask.astype(np.float32), shape, interpolation=smooth) >= 0.5,
        threshold,
    )
