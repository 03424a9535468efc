"""Figures: both files are there, what is drawn is what was given, and bad input is refused."""

import struct
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from sali.metrics.bootstrap import Interval
from sali.metrics.calibration import brier_score, expected_calibration_error, reliability
from sali.report import plots
from sali.report.overlay import PREDICTION_RGB, TRUTH_RGB
from sali.report.style import COLOURS, FOOTER, series_style

THRESHOLDS = np.linspace(1, 0, 256)


def check_files(stem: Path, figure: Figure) -> None:
    """Both files hold a picture of the figure's size, and the figure bears the footer."""
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


def picture(height: int = 30, width: int = 40) -> plots.WorstFrame:
    """A grey frame with a truth on the left and a prediction on the right."""
    frame = np.full((height, width, 3), 100, np.uint8)
    mask, prediction = np.zeros((2, height, width), np.bool_)
    rows = slice(height // 4, height // 2)
    mask[rows, width // 8 : width // 3] = True
    prediction[rows, width * 2 // 3 : width * 7 // 8] = True
    return plots.WorstFrame(frame, prediction.astype(np.uint8) * 255, mask, "case1_1\nimage0001")


def test_save_keeps_dots_and_makes_folders(tmp_path: Path) -> None:
    figure = plots.plot_reliability(counts(), tmp_path / "reliability")
    paths = plots.save(figure, tmp_path / "new" / "dice_at_0.5")
    assert [path.name for path in paths] == ["dice_at_0.5.png", "dice_at_0.5.pdf"]
    assert all(path.is_file() for path in paths)


def test_same_input_same_files(tmp_path: Path) -> None:
    for name in "ab":
        plots.plot_reliability(counts(), tmp_path / name)
    for ending in ("png", "pdf"):
        first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert first == second


def test_global_settings_stay(tmp_path: Path) -> None:
    before = matplotlib.rcParams.copy()
    plots.plot_reliability(counts(), tmp_path / "reliability")
    assert matplotlib.rcParams.copy() == before


def test_series_differ_in_more_than_colour() -> None:
    styles = [series_style(index) for index in range(12)]
    assert len(set(styles)) == 12
    assert len({(style.line, style.marker) for style in styles[:4]}) == 4


def test_precision_recall(tmp_path: Path) -> None:
    recall = np.linspace(0, 0.9, 256)
    precision = 1 - recall**2
    precision[:3] = np.nan
    curves = {"_first": (precision, recall), "second": (precision / 2, recall)}
    figure = plots.plot_precision_recall(curves, tmp_path / "pr", title="seen_easy")
    check_files(tmp_path / "pr", figure)
    np.testing.assert_array_equal(line_of(figure, COLOURS[0]), [recall, precision])
    np.testing.assert_array_equal(line_of(figure, COLOURS[1]), [recall, precision / 2])
    # Matplotlib would leave a name with a leading underscore out of a legend.
    assert legend_texts(figure) == ["_first", "second"]
    for line in figure.axes[0].lines[:9]:
        x, y = line.get_data()
        harmonic = 2 * x * y / (x + y)
        np.testing.assert_allclose(harmonic, harmonic[0])


def test_dice_over_threshold(tmp_path: Path) -> None:
    curves = {"SALI": bell(0.31, 0.9), "PNS+": bell(0.6, 0.7)}
    figure = plots.plot_dice_over_threshold(curves, THRESHOLDS, tmp_path / "dice")
    check_files(tmp_path / "dice", figure)
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
        assert f"dice_at_0.5 {curve[127]:.3f}" in text


def test_dice_of_stretched_maps_has_a_name_of_its_own(tmp_path: Path) -> None:
    curve = {"SALI": bell(0.31, 0.9)}
    figure = plots.plot_dice_over_threshold(curve, THRESHOLDS, tmp_path / "a", fixed_name="other")
    (text,) = legend_texts(figure)
    assert f"other {curve['SALI'][127]:.3f}" in text and "dice_at_0.5" not in text
    legend = figure.axes[0].get_legend()
    assert legend is not None and [one.get_text() for one in legend.get_texts()][1] == "other"


def test_dice_over_threshold_in_any_order(tmp_path: Path) -> None:
    curve = bell(0.3, 0.9)
    down = plots.plot_dice_over_threshold({"a": curve}, THRESHOLDS, tmp_path / "down")
    up = plots.plot_dice_over_threshold({"a": curve[::-1]}, THRESHOLDS[::-1], tmp_path / "up")
    np.testing.assert_array_equal(line_of(down, COLOURS[0]), line_of(up, COLOURS[0]))
    assert legend_texts(down) == legend_texts(up)


@pytest.mark.parametrize("fps", [None, 25.0])
def test_dice_over_time(tmp_path: Path, fps: float | None) -> None:
    dice = np.linspace(0.2, 0.9, 60)
    has_polyp = np.ones(60, np.bool_)
    has_polyp[50:] = False
    dice[50:] = np.nan
    figure = plots.plot_dice_over_time(
        "case3_2", dice, tmp_path / "time", [(10, 16), (30, 31)], has_polyp, fps
    )
    check_files(tmp_path / "time", figure)
    axes, step = figure.axes[0], 1 / (fps or 1)
    x, y = line_of(figure, COLOURS[0])
    np.testing.assert_allclose(x, np.arange(60) * step)
    np.testing.assert_array_equal(y, dice)
    spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    edges = [(span.x0, span.x1) for span in spans]
    np.testing.assert_allclose(edges, np.array([(9.5, 15.5), (29.5, 30.5)]) * step)
    (free,) = axes.collections[0].get_paths()
    np.testing.assert_allclose(
        (free.vertices[:, 0].min(), free.vertices[:, 0].max()), np.array([49.5, 59.5]) * step
    )
    assert axes.get_title(loc="left") == "case3_2"
    assert axes.get_xlabel() == ("frame" if fps is None else "time (s)")
    bad = np.r_[dice[10:16], dice[30]].mean()
    assert legend_texts(figure) == [
        f"dice_at_0.5 (mean {dice[:50].mean():.3f})",
        f"bad frames (mean {bad:.3f})",
        "no polyp (10 frames)",
    ]


def test_dice_over_time_of_extreme_clips(tmp_path: Path) -> None:
    one = plots.plot_dice_over_time("one", [0.5], tmp_path / "one", [], [True])
    assert legend_texts(one) == ["dice_at_0.5 (mean 0.500)"]
    free = np.full(4, np.nan)
    none = plots.plot_dice_over_time(
        "free", free, tmp_path / "free", [(0, 4)], np.zeros(4, np.bool_), metric="iou_at_0.5"
    )
    assert legend_texts(none) == ["iou_at_0.5", "bad frames", "no polyp (4 frames)"]


def test_reliability(tmp_path: Path) -> None:
    table = counts()
    figure = plots.plot_reliability(table, tmp_path / "reliability", num_bins=10, title="seen")
    check_files(tmp_path / "reliability", figure)
    bins = reliability(table, 10)
    filled = bins.weight > 0
    points = line_of(figure, COLOURS[0])
    np.testing.assert_array_equal(points, [bins.confidence[filled], bins.frequency[filled]])
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith("seen\n")
    assert f"ECE {expected_calibration_error(table, 10):.4f} (10 bins)" in title
    assert f"Brier score {brier_score(table):.4f}" in title
    bars = figure.axes[1].patches
    np.testing.assert_allclose([bar.get_x() for bar in bars], [0, 0.5, 0.9])
    np.testing.assert_allclose([bar.get_height() for bar in bars], [90_300, 700, 4_500])
    assert figure.axes[1].get_yscale() == "log"


def test_worst_frames(tmp_path: Path) -> None:
    small, large = picture(), picture(288, 384)
    probability = large.prediction.astype(np.float32) / 255
    items = [small, (large.frame, probability, large.mask.astype(np.uint8) * 255, "x" * 90), small]
    figure = plots.plot_worst_frames(items, tmp_path / "worst", columns=2)
    check_files(tmp_path / "worst", figure)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(figure.axes) == 4 and len(shown) == 3
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


def test_method_comparison(tmp_path: Path) -> None:
    scores = {
        "SALI": {"seen_easy": Interval(0.9, 0.85, 0.93), "unseen_hard": (0.8, 0.7, 0.85)},
        "published": {"unseen_hard": (0.78, np.nan, np.nan)},
    }
    figure = plots.plot_method_comparison(
        scores, tmp_path / "compare", metric="dice_max", reference=0.75
    )
    check_files(tmp_path / "compare", figure)
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


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (plots.plot_precision_recall, ({},), "curves: got none"),
        (plots.plot_precision_recall, ({"a": (np.ones(3), np.ones(4))},), r"precision of a: got"),
        (plots.plot_precision_recall, ({"a": ([1, 0], [0, np.nan])},), "recall of a: got nan"),
        (plots.plot_dice_over_threshold, ({"a": np.ones(255)}, THRESHOLDS), r"wanted \[256\]"),
        (plots.plot_dice_over_threshold, ({"a": [80, 70]}, [1, 0]), "divide percentages by 100"),
        (plots.plot_dice_over_threshold, ({"a": [0, 1]}, [0, 0.4]), "at least 0.5"),
        (plots.plot_dice_over_threshold, ({"a": [0, 1]}, [0.7, 0.7]), "got 1 different ones of 2"),
        (plots.plot_reliability, (np.ones((2, 255), int),), r"wanted \[2, 256\]"),
        (plots.plot_reliability, (np.zeros((2, 256), int),), "got no pixels"),
        (plots.plot_worst_frames, ([],), "items: got none"),
    ],
)
def test_bad_input(tmp_path: Path, function, arguments: tuple, message: str) -> None:
    *first, last = arguments
    stem = tmp_path / "figure"
    with pytest.raises(ValueError, match=message):
        function(*first, last, stem)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dice": np.ones((4, 1))}, r"dice of clip: got shape \(4, 1\)"),
        ({"dice": []}, r"got shape \(0,\), wanted \[K >= 1\]"),
        ({"has_polyp": np.ones(3, np.bool_)}, r"has_polyp: got bool \(3,\)"),
        ({"has_polyp": np.ones(4)}, r"has_polyp: got float64"),
        ({"bad_runs": [(2, 5)]}, r"got \(2, 5\), wanted 0 <= start < stop <= 4"),
        ({"bad_runs": [(2, 2)]}, "start < stop"),
        ({"fps": 0.0}, "fps: got 0.0"),
    ],
)
def test_bad_clip(tmp_path: Path, changes: dict, message: str) -> None:
    given = {"dice": np.ones(4), "bad_runs": [], "has_polyp": np.ones(4, np.bool_)} | changes
    with pytest.raises(ValueError, match=message):
        plots.plot_dice_over_time("clip", stem=tmp_path / "figure", **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": np.zeros((30, 40), np.uint8)}, r"frame of 'case1_1.*got uint8 \(30, 40\)"),
        ({"mask": np.zeros((30, 41), np.bool_)}, r"ground truth \(30, 41\)"),
        ({"prediction": np.zeros((15, 20), np.uint8)}, r"map \(15, 20\)"),
        ({"prediction": np.full((30, 40), 255.0)}, "got float64 from 255 to 255"),
        ({"prediction": np.full((30, 40), np.nan)}, "from nan to nan"),
        ({"mask": np.ones((30, 40), np.uint8)}, "mask of 0 and 1"),
    ],
)
def test_bad_frames(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plots.plot_worst_frames([picture()._replace(**changes)], tmp_path / "figure")


def test_bad_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="columns: got 0"):
        plots.plot_worst_frames([picture()], tmp_path / "figure", columns=0)


@pytest.mark.parametrize(
    "scores",
    [
        {},
        {"SALI": {}},
        {"SALI": {"seen_easy": (np.nan, 0.1, 0.2)}},
        {"SALI": {"seen_easy": (0.5, 0.6, 0.4)}},
        {"SALI": {"seen_easy": (0.5, np.nan, 0.6)}},
        {"SALI": {"seen_easy": (0.5, -np.inf, 0.6)}},
    ],
)
def test_bad_scores(tmp_path: Path, scores: dict) -> None:
    with pytest.raises(ValueError, match="scores"):
        plots.plot_method_comparison(scores, tmp_path / "figure", metric="dice_max")
