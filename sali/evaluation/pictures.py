"""The figures of an evaluation, each as PNG and PDF in `<output>/figures`.

Under VPS, per subset: `dice_over_threshold_<subset>` and `precision_recall_<subset>`. Under the
clinical protocol, per subset: `reliability_<subset>` and `worst_frames_<subset>`; per clip:
`dice_over_time/<subset>/<clip>`. With several methods, each has a `figures` of its own beside its
`metrics.json`, and that of the output has the curves of all methods together,
`comparison_<subset>` and `differences_<subset>`; these two are of "all" where there are several
subsets.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sali.evaluation.differences import dice_max_interval
from sali.evaluation.frame_pictures import draw_frames
from sali.evaluation.results import MethodResults
from sali.evaluation.settings import Settings
from sali.evaluation.trees import ClipMaps
from sali.report import plots

FOLDER = "figures"
STRETCHED = "VPS: every map min-max stretched to 0-1 first"


def draw(
    methods: Sequence[MethodResults],
    maps: Sequence[ClipMaps],
    differences: Sequence[dict[str, Any]],
    output: Path,
) -> list[Path]:
    """Draws all figures of an evaluation.

    Args:
        methods: the results.
        maps: clips and maps of all methods.
        differences: those of metrics.json; empty for one method.
        output: folder of the evaluation, in which everything else was written.

    Returns:
        Paths without ending, in the order of drawing.
    """
    curves = {method.name: method.curves() for method in methods}
    drawn = []
    for method in methods:
        home = output / method.name if len(methods) > 1 else output
        drawn += _curves({method.name: curves[method.name]}, home / FOLDER)
        drawn += _calibration(method.name, curves[method.name], home / FOLDER)
        if method.settings.with_clinical:
            own = [one for one in maps if one.method == method.name]
            drawn += draw_frames(method, own, home / "frames.csv", home / FOLDER)
    if len(methods) > 1:
        drawn += _curves(curves, output / FOLDER)
        drawn += _comparison(methods, output / FOLDER)
        drawn += _differences(methods, differences, output / FOLDER)
    return drawn


def listing(drawn: Iterable[Path], output: Path) -> str:
    """Names of figures by folder, those per clip as one."""
    folders: dict[str, Counter[str]] = {}
    for stem in drawn:
        *home, name = stem.relative_to(output).as_posix().partition(f"{FOLDER}/")
        per_clip = name.rpartition("/")[0]
        folders.setdefault("".join(home), Counter())[f"{per_clip}/" if per_clip else name] += 1
    return "; ".join(
        f"{home}: "
        + ", ".join(f"{name} ({n} clips)" if name[-1] == "/" else name for name, n in names.items())
        for home, names in folders.items()
    )


def not_drawn(settings: Settings) -> str | None:
    """Which figures the protocol leaves out, and why; None if it is none."""
    if settings.protocol == "both":
        return None
    if settings.with_vps:
        left = "dice_over_time, worst_frames and reliability need scores of raw probabilities"
    else:
        left = "dice_over_threshold, precision_recall and comparison need the curves of VPS"
    return f"figures {left}; protocol=both draws them"


def _curves(curves: dict[str, dict[str, Any]], folder: Path) -> list[Path]:
    """Dice over the threshold and precision over recall, a line per method."""
    drawn = []
    keys = dict.fromkeys(key for own in curves.values() for key in own)
    for subset in [key.removesuffix("/dice") for key in keys if key.endswith("/dice")]:
        there = {name: own for name, own in curves.items() if f"{subset}/dice" in own}
        title = f"{subset}\n{STRETCHED}"
        stem = folder / f"dice_over_threshold_{subset}"
        dice = {name: own[f"{subset}/dice"] for name, own in there.items()}
        thresholds = next(iter(there.values()))["thresholds"]
        plots.plot_dice_over_threshold(
            dice, thresholds, stem, title=title, fixed_name="dice_vps_at_0.5"
        )
        drawn.append(stem)
        stem = folder / f"precision_recall_{subset}"
        pairs = {
            n: (c[f"{subset}/precision"], c[f"{subset}/sensitivity"]) for n, c in there.items()
        }
        plots.plot_precision_recall(pairs, stem, title=title)
        drawn.append(stem)
    return drawn


def _calibration(name: str, curves: dict[str, Any], folder: Path) -> list[Path]:
    drawn = []
    for key in [key for key, value in curves.items() if key.endswith("/pixels") and value.any()]:
        subset = key.removesuffix("/pixels")
        stem = folder / f"reliability_{subset}"
        plots.plot_reliability(curves[key], stem, title=f"{subset}: {name}")
        drawn.append(stem)
    return drawn


def _of(subsets: Iterable[str]) -> str:
    """What a figure of some subsets is called."""
    names = list(dict.fromkeys(subsets))
    return names[0] if len(names) == 1 else "all"


def _comparison(methods: Sequence[MethodResults], folder: Path) -> list[Path]:
    scores: dict[str, dict[str, tuple[float, float, float]]] = {}
    for method in methods:
        for subset in method.subsets:
            interval = dice_max_interval(method, subset)
            if interval:
                scores.setdefault(method.name, {})[subset] = interval
    if not scores:
        return []
    stem = folder / f"comparison_{_of(subset for own in scores.values() for subset in own)}"
    bars = f"{methods[0].settings.bootstrap.confidence:.0%} interval over clips"
    plots.plot_method_comparison(
        scores, stem, metric="dice_max", bars=f"{bars} (bootstrap)", title=STRETCHED
    )
    return [stem]


def _differences(
    methods: Sequence[MethodResults], differences: Sequence[dict[str, Any]], folder: Path
) -> list[Path]:
    """Differences from the reference, a hollow dot: they tell more than intervals that overlap."""
    settings = methods[0].settings
    metric = "dice_max" if settings.with_vps else f"dice_at_{settings.clinical.threshold:g}"
    found = [one for one in differences if metric in one["intervals"]]
    if not found:
        return []
    scores: dict[str, dict[str, tuple[float, float, float]]] = {one.name: {} for one in methods}
    for one in found:
        row = f"{one['subset']}\nminus {one['reference']}"
        scores[one["method"]][row] = tuple(one["intervals"][metric].values())
        scores[one["reference"]][row] = (0, np.nan, np.nan)
    stem = folder / f"differences_{_of(one['subset'] for one in found)}"
    plots.plot_method_comparison(
        scores,
        stem,
        metric=f"difference in {metric}",
        bars=f"{settings.bootstrap.confidence:.0%} interval over clips (paired bootstrap)",
        reference=0,
        title=STRETCHED if settings.with_vps else "",
    )
    return [stem]
