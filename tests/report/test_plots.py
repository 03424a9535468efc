"""Figures: both files are there, what is drawn is what was given, and pages can hold them."""

import struct
from pathlib import Path
from xml.etree import ElementTree

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from sali.metrics.bootstrap import Interval
from sali.metrics.calibration import brier_score, expected_calibration_error, reliability
from sali.report import plots
from sali.report import style as style_module
from sali.report.frames import Picture, worst_frames
from sali.report.overlay import FOOTER, PREDICTION_RGB, TRUTH_RGB
from sali.report.style import COLOURS, save, series_style, to_html

THRESHOLDS = np.linspace(1, 0, 256)


def check_files(figure: Figure, folder: Path) -> None:
    """Both files hold a picture of the figure's size, and the figure bears the footer."""
    stem = folder / "figure"
    save(figure, stem)
    png, pdf = Path(f"{stem}.png").read_bytes(), Path(f"{stem}.pdf").read_bytes()
    assert png.startswith(b"\x89PNG") and pdf.startswith(b"%PDF") and b"%%EOF" in pdf[-10:]
    size = struct.unpack(">II", png[16:24])
    assert size == pytest.approx(figure.get_size_inches() * 150, abs=1)
    pixels = cv2.imread(f"{stem}.png")
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert 0.005 < (pixels.min(axis=2) < 255).mean() < 0.95
    assert FOOTER in [text.get_text() for text in figure.texts]
    assert len(pdf) > 5000


def legend_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def has_colour(pixels: np.ndarray, rgb: tuple[int, int, int]) -> bool:
    return bool((np.abs(pixels.astype(int) - rgb).max(axis=-1) < 8).any())


def line_of(figure: Figure, colour: str, axes: int = 0) -> np.ndarray:
    """Points [2, K] of the first line of a colour."""
    lines = [line for line in figure.axes[axes].lines if line.get_color() == colour]
    return np.array(lines[0].get_data())


def bell(centre: float, height: float) -> np.ndarray:
    return height * np.exp(-((THRESHOLDS - centre) ** 2) / 0.1)


def counts() -> np.ndarray:
    """Pixels of an overconfident map that leaves some bins empty."""
    table = np.zeros((2, 256), np.int64)
    table[:, 0], table[:, 130], table[:, 250] = (90_000, 300), (400, 300), (500, 4_000)
    return table


def picture(height: int = 30, width: int = 40) -> Picture:
    """A grey frame with a truth on the left and a prediction on the right."""
    frame = np.full((height, width, 3), 100, np.uint8)
    mask, prediction = np.zeros((2, height, width), np.uint8)
    rows = slice(height // 4, height // 2)
    mask[rows, width // 8 : width // 3] = 255
    prediction[rows, width * 2 // 3 : width * 7 // 8] = 255
    return Picture(frame, prediction, mask, "case1_1\nimage0001")


def test_save_keeps_dots_and_makes_folders(tmp_path: Path) -> None:
    save(plots.calibration({"a": counts()}), tmp_path / "new" / "dice_at_0.5")
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"dice_at_0.5.png", "dice_at_0.5.pdf"}


def test_same_input_same_files_and_global_settings_stay(tmp_path: Path) -> None:
    before = matplotlib.rcParams.copy()
    for name in "ab":
        save(plots.calibration({"a": counts()}), tmp_path / name)
    for ending in ("png", "pdf"):
        first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert first == second
    pages = [to_html([plots.calibration({"a": counts()})], "x") for _ in range(2)]
    assert pages[0] == pages[1]
    assert matplotlib.rcParams.copy() == before


def test_in_a_page_a_figure_loads_nothing_and_takes_the_colours_of_the_page() -> None:
    curves = {"<b>": bell(0.31, 0.9), "other": bell(0.6, 0.7)}
    html = to_html([plots.dice_over_threshold(curves, THRESHOLDS, "a & b")] * 2, "test")
    root = ElementTree.fromstring(f"<div>{html}</div>")
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    for node in root.iter():
        assert node.tag not in ("style", "metadata", "image") and not node.get("style")
        for key, value in node.attrib.items():
            assert "http" not in value, (key, value)
            if key == "href" or value.startswith("url("):
                assert value.removeprefix("url(").strip("#()") in ids
    style = (Path(style_module.__file__).parent / "templates/page.css").read_text()
    colours = {node.get("stroke", "none") for node in root.iter("path")} - {"none"}
    assert colours >= {"var(--c0)", "var(--c1)", "var(--line)"}
    assert all(f"  {name.removeprefix('var(').rstrip(')')}: " in style for name in colours)
    assert FOOTER not in html
    header, *rows = [[cell.text or cell[0].text for cell in row] for row in root.iter("tr")][:22]
    assert header == ["threshold", "<b>", "other"] and len(rows) == 21
    assert rows[0] == ["0", *(f"{curve[-1]:.4g}" for curve in curves.values())]


def test_series_differ_in_more_than_colour() -> None:
    styles = [series_style(index) for index in range(12)]
    assert len(set(styles)) == 12
    assert len({(style.line, style.marker) for style in styles[:4]}) == 4


def test_precision_recall(tmp_path: Path) -> None:
    recall = np.linspace(0, 0.9, 256)
    precision = 1 - recall**2
    precision[:3] = np.nan
    curves = {"_first": (precision, recall), "second": (precision / 2, recall)}
    figure = plots.precision_recall(curves, "seen_easy")
    check_files(figure, tmp_path)
    np.testing.assert_array_equal(line_of(figure, COLOURS[0]), [recall, precision])
    np.testing.assert_array_equal(line_of(figure, COLOURS[1]), [recall, precision / 2])
    # Matplotlib would leave a name with a leading underscore out of a legend.
    assert legend_texts(figure) == ["_first", "second"]
    for line in figure.axes[0].lines[2:]:
        x, y = line.get_data()
        harmonic = 2 * x * y / (x + y)
        np.testing.assert_allclose(harmonic, harmonic[0])


def test_dice_over_threshold(tmp_path: Path) -> None:
    curves = {"SALI": bell(0.31, 0.9), "PNS+": bell(0.6, 0.7)}
    figure = plots.dice_over_threshold(curves, THRESHOLDS)
    check_files(figure, tmp_path)
    x, y = line_of(figure, COLOURS[0])
    np.testing.assert_array_equal(x, np.sort(THRESHOLDS))
    np.testing.assert_array_equal(y, curves["SALI"][::-1])
    markers = {
        (line.get_color(), line.get_marker()): (line.get_xdata()[0], line.get_ydata()[0])
        for line in figure.axes[0].lines
        if line.get_marker() in ("o", "D")
    }
    best = curves["SALI"].argmax()
    assert markers[COLOURS[0], "o"] == (THRESHOLDS[best], curves["SALI"][best])
    # Of an 8-bit map, 128 is the first level at or above 0.5.
    assert markers[COLOURS[0], "D"] == (pytest.approx(128 / 255), curves["SALI"][127])
    assert markers[COLOURS[1], "o"][0] == pytest.approx(0.6, abs=1 / 255)
    for text, curve in zip(legend_texts(figure), curves.values(), strict=True):
        assert f"dice_max {curve.max():.3f}" in text
        assert f"dice_mean {curve.mean():.3f}" in text
        assert f"dice_vps_at_0.5 {curve[127]:.3f}" in text


def test_dice_over_threshold_in_any_order() -> None:
    curve = bell(0.3, 0.9)
    down = plots.dice_over_threshold({"a": curve}, THRESHOLDS)
    up = plots.dice_over_threshold({"a": curve[::-1]}, THRESHOLDS[::-1])
    np.testing.assert_array_equal(line_of(down, COLOURS[0]), line_of(up, COLOURS[0]))
    assert legend_texts(down) == legend_texts(up)


def test_dice_over_time(tmp_path: Path) -> None:
    dice = np.linspace(0.2, 0.9, 60)
    has_polyp = np.ones(60, np.bool_)
    has_polyp[50:] = False
    dice[50:] = np.nan
    runs = [(10, 16), (30, 31)]
    figure = plots.dice_over_time("case3_2", dice, runs, has_polyp, "dice_at_0.5")
    check_files(figure, tmp_path)
    axes = figure.axes[0]
    x, y = line_of(figure, COLOURS[0])
    np.testing.assert_allclose(x, np.arange(60))
    np.testing.assert_array_equal(y, dice)
    spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    edges = [(span.x0, span.x1) for span in spans]
    np.testing.assert_allclose(edges, np.array([(9.5, 15.5), (29.5, 30.5)]))
    (free,) = axes.collections[0].get_paths()
    np.testing.assert_allclose(
        (free.vertices[:, 0].min(), free.vertices[:, 0].max()), np.array([49.5, 59.5])
    )
    assert axes.get_title(loc="left") == "case3_2"
    assert axes.get_xlabel() == "frame"
    bad = np.r_[dice[10:16], dice[30]].mean()
    assert legend_texts(figure) == [
        f"dice_at_0.5 (mean {dice[:50].mean():.3f})",
        f"bad frames (mean {bad:.3f})",
        "no polyp (10 frames)",
    ]


def test_dice_over_time_of_extreme_clips() -> None:
    one = plots.dice_over_time("one", np.array([0.5]), [], np.array([True]), "dice_at_0.5")
    assert legend_texts(one) == ["dice_at_0.5 (mean 0.500)"]
    free = np.zeros(4, np.bool_)
    none = plots.dice_over_time("free", np.full(4, np.nan), [(0, 4)], free, "iou_at_0.5")
    assert legend_texts(none) == ["iou_at_0.5", "bad frames", "no polyp (4 frames)"]


def test_calibration(tmp_path: Path) -> None:
    table = counts()
    figure = plots.calibration({"seen": table}, "title")
    check_files(figure, tmp_path)
    bins = reliability(table, plots.NUM_BINS)
    filled = bins.weight > 0
    points = line_of(figure, COLOURS[0])
    np.testing.assert_array_equal(points, [bins.confidence[filled], bins.frequency[filled]])
    (text,) = legend_texts(figure)
    assert text == (
        f"seen: ECE {expected_calibration_error(table, plots.NUM_BINS):.4f}, "
        f"Brier score {brier_score(table):.4f}"
    )
    values, edges, _ = figure.axes[1].patches[0].get_data()
    assert np.nansum(values) == table.sum() and len(edges) == plots.NUM_BINS + 1
    assert figure.axes[1].get_yscale() == "log"
    both = plots.calibration({"a": table, "b": table[::-1]})
    assert [text.partition(":")[0] for text in legend_texts(both)] == ["a", "b"]


def test_worst_frames(tmp_path: Path) -> None:
    small, large = picture(), picture(288, 384)
    items = [small, large._replace(title="x" * 90), small, small]
    figure = worst_frames(items, 0.5)
    check_files(figure, tmp_path)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(figure.axes) == 6 and len(shown) == 4
    assert shown[0].get_title(loc="left") == "case1_1\nimage0001"
    assert shown[1].get_title(loc="left").count("\n") == 2
    for axes in shown:
        pixels = np.asarray(axes.images[0].get_array())
        assert max(pixels.shape) == 460
        half = pixels.shape[1] // 2
        assert has_colour(pixels[:, :half], TRUTH_RGB)
        assert has_colour(pixels[:, half:], PREDICTION_RGB)
        assert not has_colour(pixels[:, half:], TRUTH_RGB)
    assert legend_texts(figure) == ["truth", "prediction at 0.5 (tint: probability)"]


def test_intervals(tmp_path: Path) -> None:
    scores = {
        "SALI": {"seen_easy": Interval(0.9, 0.85, 0.93), "unseen_hard": (0.8, 0.7, 0.85)},
        "published": {"unseen_hard": (0.78, np.nan, np.nan)},
    }
    figure = plots.intervals(scores, "dice_max", "95 %", reference=0.75)
    check_files(figure, tmp_path)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["seen_easy", "unseen_hard"]
    assert axes.get_xlabel().startswith("dice_max\n")
    bars = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_alpha() is None]
    dots = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert [list(line.get_xdata()) for line in bars] == [[0.75, 0.75], [0.85, 0.93], [0.7, 0.85]]
    assert [line.get_xdata()[0] for line in dots] == [0.9, 0.8, 0.78]
    # Methods of a subset stand one below the other, in the order given, first subset on top.
    heights = [line.get_ydata()[0] for line in dots]
    assert heights == sorted(heights) and axes.yaxis_inverted()
    assert dots[2].get_markerfacecolor() == "white"
    assert legend_texts(figure) == ["SALI", "published"]


def test_what_a_training_logged() -> None:
    series = {"a": np.array([[0, 1.0], [5, 0.5]]), "one": np.array([[3, 0.25]])}
    figure = plots.over_steps("Held-out scores", series, "mean", is_share=True)
    np.testing.assert_array_equal(line_of(figure, COLOURS[0]), series["a"].T)
    assert figure.axes[0].lines[1].get_marker() == "o"  # a single point has no line
    assert figure.axes[0].get_ylim() == (0, 1)
    assert legend_texts(figure) == ["a", "one"]


def test_settings_of_a_sweep() -> None:
    rows = {"lr=1": {"seen": (0.5, 0.7), "unseen": (0.4,)}, "lr=2": {"seen": (0.6,)}}
    figure = plots.settings(rows, "dice_max", {"seen": ("paper", 0.8)})
    top, bottom = figure.axes
    seeds = [list(line.get_xdata()) for line in top.lines if line.get_marker() == "|"]
    assert seeds[0] == [0.5, 0.7]
    means = [line.get_xdata()[0] for line in top.lines if line.get_marker() == "o"]
    assert means == pytest.approx([0.6, 0.6])
    assert any(list(line.get_xdata()) == [0.8, 0.8] for line in top.lines)
    assert [label.get_text() for label in bottom.get_yticklabels()] == ["lr=1", "lr=2"]
    assert legend_texts(figure)[-1] == "paper"
