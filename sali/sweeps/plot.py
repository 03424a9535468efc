"""One figure of a sweep: every seed, its mean and its spread, subset by subset."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sali.report.style import (
    ALERT,
    COLOURS,
    GREY,
    INK,
    WIDTH,
    legend_below,
    legend_inches,
    new_figure,
    save,
    style_axes,
    wrapped,
)
from sali.sweeps.collect import Setting

_ROW_INCHES, _PANEL_INCHES = 0.32, 0.75
_LABEL_CHARACTERS = 34


def plot_settings(
    settings: Sequence[Setting],
    figure: str,
    stem: Path | str,
    published: Mapping[str, tuple[str, float]],
) -> Figure:
    """Settings below each other, a panel per subset; a setting without the figure has a gap.

    Args:
        settings: of the sweep; at least one has the figure.
        figure: name of the score.
        stem: path of the files without ending.
        published: (label, score) by subset, drawn as a line.
    """
    subsets = [
        subset
        for subset in dict.fromkeys(name for s in settings for name in s.scores)
        if any(figure in s.scores.get(subset, {}) for s in settings)
    ]
    labels = [wrapped(s.label, _LABEL_CHARACTERS) for s in settings]
    lines = sum(label.count("\n") + 1 for label in labels)
    height = len(subsets) * (_PANEL_INCHES + _ROW_INCHES * lines) + legend_inches(3)
    page = new_figure(WIDTH, height)
    panels = page.subplots(len(subsets), squeeze=False)[:, 0]
    for axes, subset in zip(panels, subsets, strict=True):
        _draw(axes, settings, subset, figure)
        style_axes(axes, title=subset, xlabel=figure, grid="x")
        axes.set_yticks(range(len(settings)), labels)
        axes.set_ylim(len(settings) - 0.5, -0.5)
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
    legend_below(page, handles, texts)
    save(page, stem)
    return page


def _draw(axes: Axes, settings: Sequence[Setting], subset: str, figure: str) -> None:
    for row, setting in enumerate(settings):
        spread = setting.scores.get(subset, {}).get(figure)
        if spread is None:
            continue
        height = [row] * len(spread.values)
        axes.plot(spread.values, height, color=GREY, marker="|", markersize=9, linestyle="none")
        axes.errorbar(
            spread.mean,
            row,
            xerr=spread.std or 0,
            color=COLOURS[0],
            ecolor=COLOURS[0],
            marker="o",
            capsize=3,
            linewidth=1.8,
            markeredgecolor=INK,
            markeredgewidth=0.4,
        )
