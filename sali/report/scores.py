"""Tables of figures: per subset, beside published ones, and differences between methods."""

from collections.abc import Sequence
from typing import Any

from sali.evaluation.ground_truth import TEST_SUBSETS
from sali.evaluation.published import VARIANTS, other_data, published_rows
from sali.evaluation.tables import NONE, Row, Table
from sali.metrics.bootstrap import Interval
from sali.report.folder import RunFolder
from sali.report.grid import Cell, Grid, grid_of

_FIRST = ("dice_max", "dice_mean", "iou_max", "iou_mean", "s_measure", "weighted_f", "mae")
"""Columns of figures that most readers look for."""
_VPS_NOTE = (
    "Every map is min-max stretched to 0-1 before it is scored; the first and the last frame of a "
    "clip are left out."
)
_MEANS_NOTE = "Plain means over all frames, polyp-free ones included (1 if nothing is marked)."


def score_grids(run: RunFolder) -> list[Grid]:
    """One table per protocol, rows of subsets and methods."""
    parts: tuple[tuple[str, dict[str, dict[str, Any]], list[str]], ...] = (
        ("VPS figures", {m: c.get("subsets", {}) for m, c in run.methods.items()}, [_VPS_NOTE]),
        (
            "Clinical figures",
            {m: c.get("clinical", {}).get("subsets", {}) for m, c in run.methods.items()},
            _clinical_notes(run),
        ),
        (
            "Clinical and VPS figures of low-quality frames",
            {m: c.get("low_quality", {}) for m, c in run.methods.items()},
            [],
        ),
        (
            "Frame metrics",
            {m: c.get("frame_metrics", {}).get("subsets", {}) for m, c in run.methods.items()},
            [_MEANS_NOTE],
        ),
    )
    return [
        grid_of(_table(run, figures), caption, notes)
        for caption, figures, notes in parts
        if any(figures.values())
    ]


def _table(run: RunFolder, figures: dict[str, dict[str, dict[str, Any]]]) -> Table:
    subsets = dict.fromkeys(name for own in figures.values() for name in own)
    rows = [
        Row(subset, (subset, method, str(_number_of_clips(run, method, subset))), own[subset])
        for subset in subsets
        for method, own in figures.items()
        if subset in own
    ]
    names = dict.fromkeys(name for row in rows for name in row.figures if name != "clips")
    first = [name for name in _FIRST if name in names]
    columns = [*first, *(name for name in names if name not in first)]
    return Table(("subset", "method", "clips"), tuple(columns), tuple(rows))


def _number_of_clips(run: RunFolder, method: str, subset: str) -> int:
    content = run.methods[method]
    counts = content.get("counts", {}).get(subset)
    clips = content.get("clinical", {}).get("clips") or content.get("clips", {})
    return counts["clips"] if counts else len(clips.get(subset, {}))


def _clinical_notes(run: RunFolder) -> list[str]:
    rules = next((c["clinical"]["rules"] for c in run.methods.values() if "clinical" in c), None)
    if not rules:
        return []
    is_stretched = run.settings.get("compat", {}).get("maps") == "minmax"
    what = "Maps stretched to 0-1 frame by frame (compat.maps)" if is_stretched else "Probabilities"
    return [
        f"{what} at {rules['threshold']:g}, all frames; seconds at "
        f"{rules['frames_per_second']:g} frames per second.",
        "A dash: there is no case of it, say no frame without a polyp.",
    ]


def counted_notes(run: RunFolder) -> list[str]:
    """What was missing or left out of the figures, counted."""
    found = []
    for method, content in run.methods.items():
        for subset, counts in content.get("counts", {}).items():
            if counts.get("missing"):
                found.append(f"{method}, {subset}: {counts['missing']} maps were missing.")
        for subset, clips in content.get("left_out", {}).items():
            reasons = sorted(set(clips.values()))
            found.append(
                f"{method}, {subset}: {len(clips)} clips are not in the VPS figures "
                f"({'; '.join(reasons)})."
            )
    return found


def beside_published(
    ours: dict[str, dict[str, dict[str, Any]]], num_clips: dict[str, int]
) -> tuple[list[Grid], list[str]]:
    """A table per variant of Dice, in percent, or why there is none.

    Args:
        ours: {name: {subset: {figure: value, or (value, spread)}}}.
        num_clips: of each subset; tells SUN-SEG from other data.
    """
    if not set(num_clips) & set(TEST_SUBSETS):
        return [], ["No published rows: none of the subsets is one of SUN-SEG's."]
    told = other_data(num_clips)
    if told:
        return [], ["No published rows, as this is other data than SUN-SEG.", *told]
    grids = []
    for variant, meaning in VARIANTS.items():
        rows = []
        for name, subsets in ours.items():
            values = [subsets.get(subset, {}).get(variant) for subset in TEST_SUBSETS]
            if any(value is not None for value in values):
                cells = [_cell(value, is_ours=True) for value in values]
                first = [Cell(f"{name} (here)", is_best=True), Cell(NONE), Cell(NONE)]
                rows.append([*first, *cells, Cell("this folder")])
        if not rows:
            continue
        rows += [
            [
                *(Cell(text) for text in (row.method, row.venue, row.backbone)),
                *(_cell(_share(row.percent[subset])) for subset in TEST_SUBSETS),
                Cell(row.source),
            ]
            for row in published_rows()
            if row.dice_variant == variant
        ]
        header = ["method", "venue", "backbone", *TEST_SUBSETS, "source"]
        caption = f"{variant}, percent: ours (bold) beside published values"
        grids.append(Grid(caption, header, rows, [f"{variant} is {meaning}."]))
    warning = (
        "Published values are of SUN-SEG. The number of clips fits; that the data is SUN-SEG is "
        "for the reader to make sure. Values of different variants of Dice must not be compared."
    )
    return grids, [warning]


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _cell(value: Any, is_ours: bool = False) -> Cell:
    mean, spread = value if isinstance(value, tuple) else (value, None)
    if mean is None:
        return Cell(NONE, is_number=True)
    text = f"{100 * mean:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")
    return Cell(text, is_number=True, is_best=is_ours)


def run_beside_published(run: RunFolder) -> tuple[list[Grid], list[str]]:
    """`beside_published` of all methods of a run."""
    if not run.methods:
        return [], []
    ours: dict[str, dict[str, dict[str, Any]]] = {}
    num_clips: dict[str, int] = {}
    for method, content in run.methods.items():
        for part in (content, content.get("clinical", {})):
            for subset, figures in part.get("subsets", {}).items():
                ours.setdefault(method, {}).setdefault(subset, {}).update(figures)
                num_clips[subset] = _number_of_clips(run, method, subset)
    return beside_published(ours, num_clips)


def difference_grid(differences: Sequence[dict[str, Any]]) -> Grid | None:
    """Differences between methods with their intervals; None without any."""
    if not differences:
        return None
    columns = list(dict.fromkeys(name for one in differences for name in one["intervals"]))
    rows = []
    for one in differences:
        cells = [
            Cell(text, is_number=index > 2)
            for index, text in enumerate(
                (one["subset"], one["method"], one["reference"], str(one["clips"]))
            )
        ]
        rows.append([*cells, *(_interval(one["intervals"].get(name)) for name in columns)])
    notes = [
        "Percentile intervals of a paired bootstrap over clips; * where the interval excludes 0. "
        "They are not corrected for the number of figures."
    ]
    header = ["subset", "method", "minus", "clips", *columns]
    return Grid("Differences between methods", header, rows, notes)


def _interval(interval: dict[str, float] | None) -> Cell:
    if interval is None:
        return Cell(NONE, is_number=True)
    one = Interval(**interval)
    star = " *" if one.excludes_zero else ""
    text = f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]{star}"
    return Cell(text, is_number=True, is_best=one.excludes_zero)
