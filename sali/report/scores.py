"""Tables of the scores of a run: per subset, differences between methods, published results.

Variants of Dice are never mixed: published results and ours have one table for each.
"""

import csv
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from sali.data.index import TEST_SUBSETS
from sali.metrics.bootstrap import Interval
from sali.metrics.scores import NONE, ScoreInfo
from sali.metrics.vps import METRIC_NAMES
from sali.report.folder import RunFolder
from sali.report.table import Cell, Row, Table, Value, score_table, value_text
from sali.run.io import write_text

FIRST = (
    *("dice_max", "dice_mean", "dice_at_0.5", "iou_max", "iou_mean", "iou_at_0.5"),
    *("s_measure", "weighted_f", "mae", "frame_dice_at_0.5"),
)
"""Scores that most readers look for; they are the first columns."""
VARIANTS = {
    "dice_max": "the highest value of the subset's mean Dice curve: one threshold per subset, "
    "chosen on the test set",
    "dice_mean": "the mean of the subset's mean Dice curve over 256 thresholds",
    "dice_at_0.5": "Dice of the raw probability at 0.5, frames without a polyp left out",
}
WARNING = (
    "Published values are of SUN-SEG. The number of clips fits; that the data is SUN-SEG is for "
    "the reader to make sure. Values of different variants of Dice must not be compared."
)
_CLIPS = {"seen_easy": 33, "seen_hard": 17, "unseen_easy": 86, "unseen_hard": 37}
_PERCENT = ScoreInfo("higher", ".1f")
_LABELS = ("method", "venue", "backbone", "dice_variant")
_VPS_NOTE = (
    "VPS: every map is min-max stretched to 0-1 before it is scored; the first and the last frame "
    "of a clip are left out."
)
_COUNTS = ("clips", "vps_clips")
_Scores = Mapping[str, Mapping[str, Any]]


def score_tables(run: RunFolder) -> list[Table]:
    """Return one table per protocol, and the same of low-quality frames; rows by subset."""
    parts: dict[str, dict[str, _Scores]] = {}
    for method, content in run.methods.items():
        low = content.get("low_quality", {})
        found: dict[str, _Scores] = {
            "VPS protocol": content.get("subsets", {}),
            "Clinical protocol": content.get("clinical", {}).get("subsets", {}),
        }
        for name, part in content.items():  # say, scores of packages
            if name != "clinical" and isinstance(part, dict) and "subsets" in part:
                found[name.replace("_", " ").capitalize()] = part["subsets"]
        found["VPS protocol, runs of low-quality frames"] = {
            subset: _only(own, True) for subset, own in low.items() if own["vps_clips"]
        }
        found["Clinical protocol, runs of low-quality frames"] = {
            subset: _only(own, False) for subset, own in low.items()
        }
        for title, subsets in found.items():
            if any(own.keys() - set(_COUNTS) for own in subsets.values()):
                parts.setdefault(title, {})[method] = subsets
    return [_table(run, title, by_method) for title, by_method in parts.items()]


def _only(scores: Mapping[str, Any], is_vps: bool) -> dict[str, Any]:
    """Scores of one of the protocols, with the number of clips behind them."""
    found = {k: v for k, v in scores.items() if k not in _COUNTS and (k in METRIC_NAMES) == is_vps}
    return {**found, "clips": scores[_COUNTS[is_vps]]}


def _table(run: RunFolder, title: str, by_method: Mapping[str, _Scores]) -> Table:
    is_vps = title.startswith("VPS")
    rows = []
    for subset in dict.fromkeys(name for own in by_method.values() for name in own):
        for method, own in by_method.items():
            if own.get(subset):
                clips = own[subset].get("clips", run.num_clips(method, subset, is_vps))
                rows.append(Row(subset, (subset, method, str(clips)), own[subset]))
    names = dict.fromkeys(name for row in rows for name in row.scores if name != "clips")
    if is_vps:
        notes = [_VPS_NOTE]
    elif title.startswith("Clinical"):
        rules = next(c["clinical"]["rules"] for c in run.methods.values() if "clinical" in c)
        is_stretched = run.settings.get("compat", {}).get("maps") == "minmax"
        own_fps = rules.get("own_fps", {})
        note = f", those of {len(own_fps)} clips at their own rate by fps.csv" if own_fps else ""
        what = "maps stretched to 0-1 frame by frame (compat.maps)"
        notes = [
            f"Clinical: {what if is_stretched else 'raw probabilities'} at "
            f"{rules['threshold']:g}, all frames; seconds at {rules['frames_per_second']:g} "
            f"frames per second{note}.",
            "A dash: there is no such case, say no frame without a polyp.",
        ]
    else:
        notes = [f"{n}: {run.info(n).meaning}." for n in names if run.info(n).meaning]
    labels = ("subset", "method", "clips")
    return score_table(title, labels, ordered(names), rows, notes=notes, info=run.info)


def ordered(names: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Return names of scores, those of `FIRST` before the others."""
    first = [name for name in FIRST if name in names]
    return [*first, *(name for name in names if name not in first)]


def data_notes(run: RunFolder) -> list[str]:
    """Return what was missing in the data or left out of the scores."""
    return [
        f"{method}, {subset}: {note}"
        for method, content in run.methods.items()
        for subset, notes in content.get("notes", {}).items()
        for note in notes
    ]


def difference_table(metrics: Mapping[str, Any]) -> Table | None:
    """Return differences between methods with their intervals; None without any."""
    found: Sequence[Mapping[str, Any]] = metrics.get("differences", ())
    if not found:
        return None
    columns = ordered(list(dict.fromkeys(name for one in found for name in one["intervals"])))
    rows = [
        [
            *(Cell(one[name], value=one[name]) for name in ("subset", "method", "reference")),
            Cell(str(one["clips"]), True, value=one["clips"]),
            *(_interval(one["intervals"].get(name)) for name in columns),
        ]
        for one in found
    ]
    share = metrics.get("bootstrap", {}).get("confidence")
    notes = [
        f"{'Percentile' if share is None else format(share, '.0%') + ' percentile'} intervals of a "
        "paired bootstrap over clips; * where the interval excludes 0. They are not corrected for "
        "the number of scores."
    ]
    groups = [one["subset"] for one in found]
    header = ["subset", "method", "minus", "clips", *columns]
    return Table("Differences between methods", header, rows, notes, groups)


def _interval(interval: Mapping[str, float] | None) -> Cell:
    if interval is None:
        return Cell(NONE, True)
    one = Interval(**interval)
    star = " *" if one.excludes_zero else ""
    text = f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]{star}"
    return Cell(text, True, one.excludes_zero, one.difference)


def published_rows() -> list[dict[str, str]]:
    """Read the table that comes with the package: percent by subset, empty if not published."""
    text = (files("sali.report") / "published_results.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def other_data(num_clips: Mapping[str, int]) -> list[str]:
    """Say which subsets cannot be those of SUN-SEG, by their number of clips."""
    return [
        f"{subset} has {num_clips[subset]} clips here and {number} in SUN-SEG: it is other data, "
        "and its values must not be compared with published ones"
        for subset, number in _CLIPS.items()
        if num_clips.get(subset, number) != number
    ]


def beside_published(
    ours: Mapping[str, Mapping[str, Mapping[str, Value]]], num_clips: Mapping[str, int]
) -> tuple[list[Table], list[str]]:
    """Return a table per variant of Dice, in percent, and what a reader must know.

    `ours` are scores by method or setting, and by subset. The number of clips of each subset tells
    SUN-SEG from other data: without its subsets there are neither tables nor notes; notes alone say
    why there are no tables.
    """
    if not set(num_clips) & set(TEST_SUBSETS):
        return [], []
    if others := other_data(num_clips):
        return [], ["No published rows, as this is other data than SUN-SEG.", *others]
    tables = []
    for variant, meaning in VARIANTS.items():
        rows = []
        for name, subsets in ours.items():
            values = {s: own[variant] for s, own in subsets.items() if variant in own}
            numbers = [value_text(values.get(s), _PERCENT, 100) for s in TEST_SUBSETS]
            cells = [Cell(text, True, text != NONE) for text in numbers]
            labels = [Cell(f"{name} (here)", is_best=True), Cell(NONE), Cell(NONE), Cell(variant)]
            if values:
                rows.append([*labels, *cells, Cell("this folder")])
        if rows:
            for row in published_rows():
                if row["dice_variant"] == variant:
                    cells = [Cell(row[subset] or NONE, True) for subset in TEST_SUBSETS]
                    rows.append([*(Cell(row[k]) for k in _LABELS), *cells, Cell(row["source"])])
            header = ["method", "venue", "backbone", "Dice variant", *TEST_SUBSETS, "source"]
            title = f"{variant}, percent: ours (bold) and published values"
            tables.append(Table(title, header, rows, [f"{variant} is {meaning}."]))
    return tables, [WARNING]


def published_sali(variant: str) -> dict[str, tuple[str, float]]:
    """Return the published SALI by subset, (label, share): the last row of its own paper."""
    own = [r for r in published_rows() if (r["method"], r["dice_variant"]) == ("SALI", variant)]
    return {
        subset: (f"{row['method']} {row['backbone']}, {row['venue']}", float(row[subset]) / 100)
        for row in own[-1:]
        for subset in TEST_SUBSETS
        if row[subset]
    }


def run_beside_published(run: RunFolder) -> tuple[list[Table], list[str]]:
    """Return `beside_published` of all methods of a run."""
    ours = {method: run.scores(method) for method in run.methods}
    num_clips = {s: run.num_clips(method, s) for method, own in ours.items() for s in own}
    return beside_published(ours, num_clips)


def write_tables(run: RunFolder) -> None:
    """Write `table.md`, `table.tex`, and `comparison.md` and `attributes.md` where they apply."""
    tables = score_tables(run)
    latex = "\n".join(table.to_latex() for table in tables)
    if differences := difference_table(run.metrics):
        tables.append(differences)
    text = "".join(f"# {table.title}\n\n{table.to_markdown()}\n" for table in tables)
    notes = dict.fromkeys([*(note for table in tables for note in table.notes), *data_notes(run)])
    found = {
        "table.md": text + "".join(f"- {note}\n" for note in notes),
        "table.tex": latex,
    }
    published, notes_of_data = run_beside_published(run)
    if published or notes_of_data:
        found["comparison.md"] = comparison(published, [*notes_of_data, *data_notes(run)])
    path = run.path / "attributes.csv"
    if path.is_file():
        lines = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        header = list(lines.fieldnames or ())
        rows = [
            Row(
                f"{row['subset']}/{row['attribute']}",
                tuple(row[name] for name in header[:4]),
                {name: float(row[name]) if row[name] else None for name in header[4:]},
            )
            for row in lines
        ]
        table = score_table("Scores by attribute", header[:4], header[4:], rows, info=run.info)
        found["attributes.md"] = table.to_markdown()
    for name, content in found.items():
        write_text(run.path / name, content)


def comparison(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Return tables of ours and published results as a Markdown page."""
    parts = ["# Ours and published results\n", *(f"Note: {note}\n" for note in notes)]
    for table in tables:
        parts += [f"## {table.title}\n", *(f"{note}\n" for note in table.notes)]
        parts.append(table.to_markdown())
    return "\n".join(parts)
