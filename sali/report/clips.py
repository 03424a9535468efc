"""The list of clips, and what the player shows of each."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sali.evaluation.tables import NONE
from sali.metrics.frame_quality import consecutive_runs
from sali.report.film_choice import clip_score
from sali.report.folder import Rows, RunFolder
from sali.report.grid import Cell, Grid
from sali.report.options import ReportOptions
from sali.run.io import read_json

Key = tuple[str, str]
_VPS_OF_CLIPS = ("dice_max", "dice_mean")


@dataclass(frozen=True)
class Clips:
    """All clips of a test.

    Attributes:
        grid: a row per clip, worst first.
        blocks: JSON of each row, in the same order.
        notes: what is not shown, and why.
    """

    grid: Grid
    blocks: list[str]
    notes: list[str]


def metric_of(columns: Mapping[str, Any]) -> str:
    """The Dice that frames.csv has: of raw probabilities, or else that of VPS."""
    fixed = [name for name in columns if name.startswith("dice_at_")]
    return fixed[0] if fixed else "dice_max"


def read_clips(run: RunFolder, options: ReportOptions) -> Clips | None:
    """The clips of a finished test; None without one."""
    if not run.methods:
        return None
    frames = {method: run.frames(method) for method in run.methods}
    keys = list(dict.fromkeys(key for own in frames.values() for key in own))
    notes = []
    if not keys:
        keys = list(dict.fromkeys(key for m in run.methods for key in _clips_of(run, m)))
        notes.append("There is no Dice over time: the folder holds no frames.csv.")
    if not keys:
        return None
    columns = next((rows[0] for own in frames.values() for rows in own.values()), {})
    figures = {method: _clip_figures(run, method) for method in run.methods}
    known = dict.fromkeys(n for own in figures.values() for row in own.values() for n in row)
    metric = metric_of(columns or known)
    scores = {
        key: [_score(figures[m].get(key, {}), frames[m].get(key), metric) for m in run.methods]
        for key in keys
    }
    ranked = sorted(keys, key=lambda key: _rank(scores[key]))
    films, told = _films(run, ranked, options)
    notes += told
    if metric == "dice_max" and columns:
        notes.append(
            "Dice over time is dice_max of each frame's own curve, of the stretched map: a "
            "different number than Dice at 0.5, which protocol=both adds."
        )
    rows, blocks = [], []
    for key in ranked:
        own = {m: frames[m][key] for m in run.methods if key in frames[m]}
        content = _content(key, own, metric, options)
        rows.append(_row(key, content, scores[key], figures, films.get(key)))
        blocks.append(_block(content, films.get(key)))
    several = len(run.methods) > 1
    scored = [f"{metric}: {m}" if several else metric for m in run.methods]
    more = [] if several else [n for n in _VPS_OF_CLIPS if n in known and n != metric]
    header = ["clip", *scored, "subset", "frames", "lowest frame", "bad frames", "pictures", *more]
    grid = Grid(f"{len(ranked)} clips, at first by {metric}, lowest first", header, rows)
    return Clips(grid, blocks, notes)


def _clips_of(run: RunFolder, method: str) -> list[Key]:
    content = run.methods[method]
    clips = content.get("clinical", {}).get("clips") or content.get("clips", {})
    return [(subset, clip) for subset, own in clips.items() for clip in own]


def _clip_figures(run: RunFolder, method: str) -> dict[Key, dict[str, float | None]]:
    content = run.methods[method]
    found: dict[Key, dict[str, float | None]] = {}
    for part in (content.get("clinical", {}), content):
        for subset, clips in part.get("clips", {}).items():
            for clip, figures in clips.items():
                found.setdefault((subset, clip), {}).update(figures)
    return found


def _score(figures: Mapping[str, float | None], rows: Rows | None, metric: str) -> float | None:
    """The clip's own figure; where nothing of it is a polyp, None."""
    value = figures.get(metric)
    if value is None and rows and any(row.get(metric) for row in rows):
        return clip_score(rows, metric)
    return value


def _rank(scores: Sequence[float | None]) -> float:
    there = [score for score in scores if score is not None]
    return sum(there) / len(there) if there else math.inf


def _films(
    run: RunFolder, ranked: Sequence[Key], options: ReportOptions
) -> tuple[dict[Key, dict[str, Any]], list[str]]:
    """Films that fit into the budget: subsets take turns, each with its worst clips first."""
    paths = run.films()
    there = [key for key in ranked if key in paths]
    turns: dict[str, int] = {}
    order = []
    for key in there:
        turns[key[0]] = turns.get(key[0], 0) + 1
        order.append((turns[key[0]], key))
    left = options.max_megabytes * 1e6
    found: dict[Key, dict[str, Any]] = {}
    for _, key in sorted(order, key=lambda item: item[0]):
        size = paths[key].stat().st_size
        if size <= left:
            left -= size
            found[key] = read_json(paths[key])
    notes = []
    if there:
        notes.append(
            f"{len(found)} of {len(ranked)} clips have pictures; of the others Dice over time is "
            "shown. report.clips says how many clips of a subset are kept."
        )
    else:
        notes.append("No clip has pictures: none were kept in report/clips of the folder.")
    if len(found) < len(there):
        notes.append(
            f"{len(there) - len(found)} clips that were kept are not shown in pictures: they are "
            f"beyond report.max_megabytes={options.max_megabytes:g}."
        )
    thinned = [film for film in found.values() if film["every"] > 1]
    if thinned:
        shown = sum(len(film["frames"]) for film in found.values())
        total = sum(film["num_frames"] for film in found.values())
        notes.append(
            f"{len(thinned)} of these clips are thinned: {shown} of {total} frames are shown in "
            "pictures; the player says which."
        )
    return found, notes


def _content(
    key: Key, frames: Mapping[str, Rows], metric: str, options: ReportOptions
) -> dict[str, Any]:
    """What the player is told about a clip, besides its film."""
    first = next(iter(frames.values()), [])
    dice = {method: [_number(row.get(metric)) for row in rows] for method, rows in frames.items()}
    return {
        "subset": key[0],
        "clip": key[1],
        "metric": metric,
        "methods": list(frames),
        "frames": [row["frame"] for row in first],
        "dice": dice,
        "marked": {m: [_count(row.get("marked_pixels")) for row in r] for m, r in frames.items()},
        "polyp": [_count(row.get("polyp_pixels")) for row in first],
        "runs": _runs(first, dice, metric, options),
    }


def _runs(
    rows: Rows, dice: Mapping[str, list[float | None]], metric: str, options: ReportOptions
) -> list[dict[str, Any]]:
    """Runs of low-quality frames, and of frames below the limit of Dice."""
    found = [
        {"kind": "quality", "start": start, "stop": stop, "text": "low-quality frames"}
        for start, stop in consecutive_runs((r.get("low_quality") == "1" for r in rows), 1)
    ]
    for method, values in dice.items():
        is_bad = (value is not None and value < options.bad_dice for value in values)
        text = f"{metric} below {options.bad_dice:g}" + (f", {method}" if len(dice) > 1 else "")
        found += [
            {"kind": "dice", "start": start, "stop": stop, "text": text}
            for start, stop in consecutive_runs(is_bad, options.min_run)
        ]
    return found


def _row(
    key: Key,
    content: Mapping[str, Any],
    scores: Sequence[float | None],
    figures: Mapping[str, Mapping[Key, Mapping[str, float | None]]],
    film: Mapping[str, Any] | None,
) -> list[Cell]:
    dice = [v for values in content["dice"].values() for v in values if v is not None]
    bad = {i for run in content["runs"] for i in range(run["start"], run["stop"])}
    frames = len(content["frames"])
    name = quote(f"{key[0]}/{key[1]}", safe="/")
    more = []
    if len(figures) == 1:
        (own,) = figures.values()
        known = dict.fromkeys(n for row in own.values() for n in row)
        wanted = [n for n in _VPS_OF_CLIPS if n in known and n != content["metric"]]
        more = [_figure(own.get(key, {}).get(n)) for n in wanted]
    pictures = Cell(NONE, value="")
    if film:
        every = film["every"]
        text = "all frames" if every == 1 else f"every {_ordinal(every)}"
        pictures = Cell(text, value=f"{every:09}")
    return [
        Cell(key[1], value=key[1], link=f"#clip={name}"),
        *(_figure(score) for score in scores),
        Cell(key[0], value=key[0]),
        Cell(str(frames) if frames else NONE, True, value=frames),
        _figure(min(dice, default=None)),
        Cell(str(len(bad)) if frames else NONE, True, value=len(bad)),
        pictures,
        *more,
    ]


def _block(content: dict[str, Any], film: Mapping[str, Any] | None) -> str:
    """JSON that cannot end the script element that it is in."""
    why = "" if film else "No pictures of this clip were kept; Dice over time is below."
    text = json.dumps({**content, "film": film, "why": why}, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _figure(value: float | None) -> Cell:
    return Cell(NONE if value is None else f"{value:.4f}", True, value=value)


def _number(text: str | None) -> float | None:
    return round(float(text), 4) if text else None


def _count(text: str | None) -> int | None:
    return int(text) if text else None


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number // 10 % 10 != 1 else 0, "th")
    return f"{number}{ending} frame"
