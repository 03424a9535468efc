"""The look that all figures share: palette, page, legend, files, SVG for pages.

Everything is set on the figure itself, and pyplot is not used, so that a program's own figures are
left alone and no display is needed.
"""

import re
import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sali.metrics.scores import NONE
from sali.report.overlay import FOOTER
from sali.report.table import Cell, Table
from sali.run.io import atomic_write

DPI = 150

# Okabe and Ito, "Color universal design", 2008, without the yellow, which is too pale for a line.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
INK, GREY, PALE = "#222222", "#767676", "#DDDDDD"
ALERT = "#D55E00"
_NAMES = {colour.lower(): f"c{index}" for index, colour in enumerate(COLOURS)}
_NAMES |= {"#222222": "ink", "#767676": "soft", "#dddddd": "line", "#ffffff": "card"}
"""Colours of figures, and what the style sheet of pages calls them."""
# Lengths without a common divisor with that of the palette: 28 series before one repeats.
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P")

# Points, for figures about 5 inches wide: still 6 when printed over half a page.
TITLE, TEXT, SMALL, FINE = 11.0, 10.0, 9.0, 7.0
_LEGEND_CHARACTERS = 64
_TABLE_ROWS = 21
# Inches.
WIDTH = 5.0
_FOOTER_INCHES = 0.18
PAD_INCHES = 0.06


class SeriesStyle(NamedTuple):
    """How one series differs from the others: always by more than its colour."""

    colour: str
    line: str
    marker: str


def series_style(index: int) -> SeriesStyle:
    """Return the style of series number `index`, from 0."""
    return SeriesStyle(
        COLOURS[index % len(COLOURS)],
        _LINES[index % len(_LINES)],
        _MARKERS[index % len(_MARKERS)],
    )


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure with the footer; sizes in inches, footer included."""
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
    """Set labels, sizes and colours; `grid` is "both", "x", "y", or empty for none."""
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
    """Let both axes run from 0 to 1, with the same ticks."""
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks)


def legend_below(
    figure: Figure, handles: Sequence[Artist], labels: Sequence[str], columns: int = 1
) -> None:
    """Put a legend under the axes, where it hides no data; long labels are wrapped."""
    figure.legend(
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
    )


def save(figure: Figure, stem: Path | str) -> None:
    """Write a figure as PNG and as PDF; equal figures give equal files.

    `stem` is a path without ending; dots in it are kept (`dice_at_0.5`). Missing folders are made.
    """
    for kind, hidden in (("png", None), ("pdf", {"CreationDate": None})):
        with atomic_write(Path(f"{stem}.{kind}")) as partial:
            figure.savefig(partial, format=kind, dpi=DPI, facecolor="white", metadata=hidden)


def legend_inches(num_lines: int) -> float:
    """Return the height that a legend of `num_lines` lines of text needs."""
    return 0.19 * num_lines + 0.1


def wrapped(text: str, width: int) -> str:
    """Break lines of more than `width` characters, words if there is no other way."""
    wrapper = textwrap.TextWrapper(width, break_on_hyphens=False)
    return "\n".join(wrapper.fill(line) for line in text.splitlines())


def to_html(figures: Sequence[Figure], name: str) -> Markup:
    """Return figures as part of a page, each with its values as a table."""
    blocks = []
    for number, figure in enumerate(figures):
        axes = figure.axes[0]
        title = axes.get_title(loc="left").replace("\n", ", ")
        about = f"{title}: {axes.get_ylabel() or 'rows'} over {axes.get_xlabel() or 'values'}"
        blocks.append(
            Markup(
                '<figure class="chart"><div role="img" aria-label="{}">{}</div>\n{}</figure>\n'
            ).format(about, inline(figure, f"{name}{number}"), _values(axes, title))
        )
    return Markup("").join(blocks)


def _values(axes: Axes, title: str) -> Markup:
    """Values of the lines that have a label, thinned, for those who do not see them."""
    unnamed = ("_child", "_nolegend_")
    lines = [line for line in axes.lines if not str(line.get_label()).startswith(unnamed)]
    if not lines:
        return Markup("")
    x, y = axes.get_xlabel() or "value", axes.get_ylabel()
    points = [np.asarray(line.get_xydata()) for line in lines]
    if all(np.array_equal(own[:, 0], points[0][:, 0]) for own in points):
        header = [x, *(str(line.get_label()) for line in lines)]
        points = [points[0][:, :1], *(own[:, 1:] for own in points)]
    else:
        header = [f"{line.get_label()}: {what}" for line in lines for what in (x, y)]
    every = [np.linspace(0, len(own) - 1, min(len(own), _TABLE_ROWS)).round() for own in points]
    rows = [
        [
            Cell(f"{value:.4g}" if np.isfinite(value) else NONE, True)
            for own, places in zip(points, every, strict=True)
            for value in (own[int(places[row])] if row < len(places) else (np.nan,) * 2)
        ]
        for row in range(max(map(len, every)))
    ]
    table = Table(f"{title}, values", header, rows).to_html()
    return Markup("<details><summary>Values as a table</summary>{}</details>").format(table)


def inline(figure: Figure, name: str) -> Markup:
    """Return a figure as SVG for a page: no references outside it, colours by name.

    The page's style sheet says what the names are, so that a figure follows its light or dark look.
    Ids begin with `name`, which is unique on the page.
    """
    figure.texts[0].set_visible(False)  # the page itself says what the footer says
    content = BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "sali"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    figure.texts[0].set_visible(True)
    root = ElementTree.fromstring(content.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in node.attrib.items()}
        attributes |= _presentation(attributes.pop("style", ""))
        for key in attributes.keys() & {"id", "href", "clip-path"}:
            attributes[key] = re.sub(r"^(url\(#|#|)", rf"\g<0>{name}-", attributes[key])
        node.attrib = attributes
    root.attrib = {"viewBox": root.attrib["viewBox"], "class": "plot", "stroke-linejoin": "round"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _presentation(style: str) -> dict[str, str]:
    """Inline style as attributes, which a Content-Security-Policy lets through."""
    found: dict[str, str] = {}
    for part in style.split(";"):
        key, _, value = (text.strip() for text in part.partition(":"))
        if key in ("fill", "stroke") and value.lower() in _NAMES:
            found[key] = f"var(--{_NAMES[value.lower()]})"
        elif key == "font":
            found["font-size"] = next(text for text in value.split() if text.endswith("px"))[:-2]
        elif key and key not in ("white-space", "font-family"):
            found[key] = value
    return found
