"""Which figures a run has: those of its training, of its test, and of its frames.

Figures of an evaluation are written as PNG and PDF into `<output>/figures`, with several methods
also into `<output>/<method>/figures`:

- by subset: `dice_over_threshold_<subset>` and `precision_recall_<subset>` with the VPS protocol,
  `reliability_<subset>` and `worst_frames_<subset>` with the clinical one, which alone has
  `precision_recall_pixels_<subset>`, and `sensitivity_over_alarms_<subset>` where there are frames
  with a polyp and others;
- by clip, with the clinical protocol: `dice_over_time/<subset>/<clip>`;
- of several methods together: the curves of all, `comparison_<subset>` and `differences_<subset>`,
  where the subset is "all" if there are several.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from matplotlib.figure import Figure

from sali.metrics.calibration import PROBABILITIES
from sali.metrics.counted_frame import FloatArray, IntArray
from sali.metrics.curves import confusion_at
from sali.report import plots
from sali.report.folder import Curves, RunFolder
from sali.report.style import save

FOLDER = "figures"
NOT_DRAWN = {
    "vps": "dice_over_time, worst_frames and reliability need scores of raw probabilities",
    "clinical": "dice_over_threshold, precision_recall and comparison need the curves of VPS",
}
"""Figures that a protocol leaves out, and why."""
STRETCHED = "VPS: every map min-max stretched to 0-1 first"
_LOSS, _RATE, _HELD_OUT = "train/loss", "lr-", "val/"
Named = tuple[str, Figure]
"""A figure and the name of its files."""


def save_figures(run: RunFolder) -> None:
    """Write the figures of an evaluation that need nothing but its numbers."""
    for method, by_subset in run.curves.items():
        for subset, own in by_subset.items():
            for name, figure in curve_figures({method: own}, subset):
                save(figure, run.home(method) / FOLDER / f"{name}_{subset}")
    if len(run.methods) > 1:
        for name, figure in joint_figures(run):
            save(figure, run.path / FOLDER / name)


def page_figures(run: RunFolder) -> list[Figure]:
    """Return the figures of a test as a page shows them: one method's subsets share axes."""
    if len(run.methods) > 1:
        return [figure for _, figure in joint_figures(run)]
    return [f for by_subset in run.curves.values() for _, f in curve_figures(by_subset)]


def joint_figures(run: RunFolder) -> Iterator[Named]:
    """Draw several methods together: curves by subset, scores and differences with intervals."""
    for subset in dict.fromkeys(subset for own in run.curves.values() for subset in own):
        curves = {method: own[subset] for method, own in run.curves.items() if subset in own}
        for name, figure in curve_figures(curves, subset):
            yield f"{name}_{subset}", figure
    share = run.metrics.get("bootstrap", {}).get("confidence", math.nan)
    bars = f"{share:.0%} interval over clips (bootstrap)"
    scores: dict[str, dict[str, plots.Interval]] = {
        method: {subset: _interval(one) for subset, one in own.items()}
        for method, own in run.metrics.get("intervals", {}).items()
    }
    if any(scores.values()):
        name = f"comparison_{_of(subset for own in scores.values() for subset in own)}"
        yield name, plots.intervals(scores, "dice_max", bars, title=f"Comparison\n{STRETCHED}")
    differences = run.metrics.get("differences", [])
    known = dict.fromkeys(name for one in differences for name in one["intervals"])
    metric = next((n for n in known if n == "dice_max"), None) or next(
        (n for n in known if n.startswith("dice_at_")), None
    )
    found = [one for one in differences if metric in one["intervals"]]
    if found:
        rows: dict[str, dict[str, plots.Interval]] = {name: {} for name in run.methods}
        for one in found:
            row = f"{one['subset']}\nminus {one['reference']}"
            rows[one["method"]][row] = tuple(one["intervals"][metric].values())
            rows[one["reference"]][row] = (0, math.nan, math.nan)
        title = "Differences" + (f"\n{STRETCHED}" if metric == "dice_max" else "")
        figure = plots.intervals(rows, f"difference in {metric}", f"paired, {bars}", 0, title)
        yield f"differences_{_of(one['subset'] for one in found)}", figure


def curve_figures(curves: Mapping[str, Curves], subset: str = "") -> Iterator[Named]:
    """Draw the curves of a test by method, all of one subset, or by subset."""
    of = f", {subset}" if subset else ""
    dice = {label: own for label, own in curves.items() if "dice" in own and "precision" in own}
    if dice:
        levels = next(iter(dice.values()))["thresholds"]
        own = {label: arrays["dice"] for label, arrays in dice.items()}
        title = f"Dice over threshold{of}\n{STRETCHED}"
        yield "dice_over_threshold", plots.dice_over_threshold(own, levels, title)
        pairs = {label: (own["precision"], own["sensitivity"]) for label, own in dice.items()}
        title = f"Precision over recall{of}\n{STRETCHED}"
        yield "precision_recall", plots.precision_recall(pairs, title)
    pixels = {n: own["pixels"] for n, own in curves.items() if own.get("pixels", np.zeros(1)).any()}
    with_polyp = {label: precision_recall(own) for label, own in pixels.items() if own[1].any()}
    if with_polyp and not dice:
        title = f"Precision over recall{of}\npixels of all frames"
        yield "precision_recall_pixels", plots.precision_recall(with_polyp, title)
    matched = {
        label: (own["alarm_rate"], own["frame_sensitivity"])
        for label, own in curves.items()
        if "alarm_rate" in own
    }
    if matched:
        title = f"Sensitivity over false alarms{of}"
        yield "sensitivity_over_alarms", plots.sensitivity_over_alarms(matched, title)
    if pixels:
        yield "reliability", plots.calibration(pixels, f"Calibration{of}")


def precision_recall(pixels: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return precision and recall [256] of the pixels of all frames, at thresholds from 0 to 1.

    Pixels are counted by truth (background, polyp) and grey level of the map, [2, 256]. Precision
    is NaN where nothing is marked, recall where there is no polyp.
    """
    found = confusion_at(pixels, PROBABILITIES, PROBABILITIES)
    with np.errstate(invalid="ignore"):
        return (
            found.true_positive / (found.true_positive + found.false_positive),
            found.true_positive / (found.true_positive + found.false_negative),
        )


def training_figures(run: RunFolder, max_points: int) -> tuple[list[Figure], list[str]]:
    """Return loss, held-out scores and learning rates over steps, and what a reader must know.

    Lines of more than `max_points` are averaged.
    """
    logged: dict[str, FloatArray] = {}
    notes = []
    for name, points in run.log().items():
        there = np.asarray([point for point in points if math.isfinite(point[1])], np.float64)
        if len(there) < len(points):
            notes.append(f"{name}: {len(points) - len(there)} logged values are not finite.")
        every = -(-len(there) // max_points)
        if every > 1 and name.startswith((_LOSS, _RATE, _HELD_OUT)):
            notes.append(f"{name}: a point is the mean of {every} logged steps.")
        if len(there):
            starts = np.arange(0, len(there), every)
            sizes = np.diff([*starts, len(there)])[:, None]
            logged[name] = np.add.reduceat(there, starts) / sizes
    figures = []
    if _LOSS in logged:
        figures.append(plots.over_steps("Training loss", {"loss": logged[_LOSS]}, "loss"))
    held = {
        name.removeprefix(_HELD_OUT): points
        for name, points in logged.items()
        if name.startswith(_HELD_OUT) and ("dice" in name or "iou" in name)
    }
    if held:
        figures.append(plots.over_steps("Held-out scores", held, "mean over frames", is_share=True))
    rates: dict[bytes, list[str]] = {}
    for name in (name for name in logged if name.startswith(_RATE)):
        rates.setdefault(logged[name].tobytes(), []).append(name)
    if rates:  # groups with and without weight decay have the same
        named = {
            ", ".join(n.removeprefix(_RATE) for n in own): logged[own[0]] for own in rates.values()
        }
        figures.append(plots.over_steps("Learning rate", named, "learning rate"))
    return figures, notes


def _interval(one: Mapping[str, float | None]) -> plots.Interval:
    value, low, high = (math.nan if end is None else end for end in one.values())
    return value, low, high


def _of(subsets: Iterable[str]) -> str:
    """Return what a figure of some subsets is called."""
    names = list(dict.fromkeys(subsets))
    return names[0] if len(names) == 1 else "all"
