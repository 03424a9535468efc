"""The look that all plots share: palette, page, legend, files.

Everything is set on the figure itself. Neither pyplot nor rcParams are touched, so plots can be
drawn next to a program's own, in threads, and without a display.
"""

import textwrap
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from numpy.typing import ArrayLike

from sali.metrics.counted_frame import FloatArray

FOOTER = "Research software, not a medical device"
DPI = 150

# Okabe and Ito, "Color universal design", 2008, without the yellow, which is too pale for a line.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
INK, GREY, PALE = "#222222", "#767676", "#DDDDDD"
ALERT = "#D55E00"
# Lengths without a common divisor with that of the palette: 28 series before one repeats.
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P")

# Points, for figures about 5 inches wide: still 6 when printed over half a page.
TITLE, TEXT, SMALL, FINE = 11.0, 10.0, 9.0, 7.0
_LEGEND_CHARACTERS = 64
# Inches.
WIDTH = 5.0
_FOOTER_INCHES = 0.18
PAD_INCHES = 0.06
# Means of values in [0, 1] may end up this far outside.
_ROUNDING = 1e-9


class SeriesStyle(NamedTuple):
    """How one series is told from the others: always by more than its colour."""

    colour: str
    line: str
    marker: str


def series_style(index: int) -> SeriesStyle:
    """Returns the style of series number `index`, from 0."""
    return SeriesStyle(
        COLOURS[index % len(COLOURS)],
        _LINES[index % len(_LINES)],
        _MARKERS[index % len(_MARKERS)],
    )


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty white figure with the footer.

    Args:
        width: inches.
        height: inches, footer included.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    bottom = _FOOTER_INCHES / height
    figure.set_layout_engine(
        ConstrainedLayoutEngine(
            rect=(0, bottom, 1, 1 - bottom), w_pad=PAD_INCHES, h_pad=PAD_INCHES, wspace=0, hspace=0
        )
    )
    figure.text(
        1 - PAD_INCHES / width, 0.05 / height, FOOTER, ha="right", color=GREY, fontsize=FINE
    )
    return figure


def style_axes(
    axes: Axes, title: str = "", xlabel: str = "", ylabel: str = "", grid: str = "both"
) -> None:
    """Sets labels, sizes and colours.

    Args:
        axes: to be styled.
        title: set above, on the left.
        xlabel: of the horizontal axis.
        ylabel: of the vertical axis.
        grid: direction of the grid's lines: "both", "x", "y", or empty for none.
    """
    axes.set_facecolor("white")
    if title:
        axes.set_title(title, loc="left", fontsize=TITLE, color=INK)
    axes.set_xlabel(xlabel, fontsize=TEXT, color=INK)
    axes.set_ylabel(ylabel, fontsize=TEXT, color=INK)
    axes.tick_params(which="both", labelsize=SMALL, color=GREY, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=PALE, linewidth=0.6)  # type: ignore[arg-type]


def set_unit_limits(axes: Axes) -> None:
    """Lets both axes run from 0 to 1, with the same ticks."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)


def legend_below(
    figure: Figure,
    handles: Sequence[Artist],
    labels: Sequence[str],
    columns: int = 1,
    **kwargs: Any,
) -> Legend:
    """Puts a legend under the axes, where it hides no data.

    Args:
        figure: whose layout makes room for it.
        handles: one per label.
        labels: texts; long ones are wrapped to the width of one column.
        columns: number of columns.
        kwargs: passed on to `Figure.legend`.
    """
    return figure.legend(
        handles,
        [wrapped(label, _LEGEND_CHARACTERS) for label in labels],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        borderpad=0,
        # The layout keeps the footer's strip free for axes only.
        borderaxespad=_FOOTER_INCHES * 72 / SMALL,
        **kwargs,
    )


def save(figure: Figure, stem: Path | str) -> tuple[Path, Path]:
    """Writes a figure as PNG and as PDF; equal figures give equal files.

    Args:
        figure: to be written.
        stem: path without an ending; dots in it are kept (`dice_at_0.5`). Missing folders are made.

    Returns:
        The two paths.
    """
    png, pdf = Path(f"{stem}.png"), Path(f"{stem}.pdf")
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=DPI, facecolor="white")
    figure.savefig(pdf, dpi=DPI, facecolor="white", metadata={"CreationDate": None})
    return png, pdf


def legend_inches(num_lines: int) -> float:
    """Height that a legend of so many lines of text needs."""
    return 0.19 * num_lines + 0.1


def wrapped(text: str, width: int) -> str:
    """Breaks lines of more than `width` characters, words if there is no other way."""
    wrapper = textwrap.TextWrapper(width, break_on_hyphens=False)
    return "\n".join(wrapper.fill(line) for line in text.splitlines())


def check_not_empty(name: str, values: Sized) -> None:
    """Raises ValueError if there is nothing to draw."""
    if not len(values):
        raise ValueError(f"{name}: got none, wanted at least one")


def unit_values(
    name: str, values: ArrayLike, length: int | None = None, *, allow_nan: bool = False
) -> FloatArray:
    """Returns values as float64 [length] after checking that they are shares.

    Args:
        name: of the values in messages.
        values: [length], each in [0, 1].
        length: wanted number of values; any above 0 if None.
        allow_nan: whether NaN, a gap in a line, is accepted.

    Raises:
        ValueError: for another shape or a value that is not a share.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or length not in (None, array.size):
        wanted = "K >= 1" if length is None else length
        raise ValueError(f"{name}: got shape {array.shape}, wanted [{wanted}]")
    is_share = (array >= -_ROUNDING) & (array <= 1 + _ROUNDING)
    bad = array[~(is_share | np.isnan(array) if allow_nan else is_share)]
    if bad.size:
        raise ValueError(
            f"{name}: got {bad[0]:g}, wanted values from 0 to 1{' or NaN' if allow_nan else ''}; "
            "divide percentages by 100"
        )
    return array
