"""The list of clips, and what the player shows of each."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sali.metrics.frame_quality import consecutive_runs
from sali.metrics.scores import NONE, ScoreInfo, is_built_in, score_info
from sali.report.folder import Key, Rows, RunFolder, clip_score, frame_metric
from sali.report.options import ReportOptions
from sali.report.table import Cell, Table
from sali.run.io import read_json

_VPS_OF_CLIPS = ("dice_max", "dice_mean")
_DICE = score_info("dice_max")


@dataclass(frozen=True)
class Clips:
    """All clips of a test.

    Attributes:
        table: A row per clip, worst first.
        blocks: JSON of each row, in the same order.
        notes: What is not shown, and why.
    """

    table: Table
    blocks: list[str]
    notes: list[str]


def read_clips(run: RunFolder, options: ReportOptions) -> Clips | None:
    """Return the clips of a finished test; None without one."""
    frames = run.frames
    keys = list(dict.fromkeys(key for own in frames.values() for key in own))
    notes = []
    if not keys:
        keys = list(dict.fromkeys(key for m in run.methods for key in run.clip_scores(m)))
        notes.append("There is no Dice over time: the folder holds no frames.csv.")
    if not keys:
        return None
    columns = next((rows[0] for own in frames.values() for rows in own.values()), {})
    known = {method: run.clip_scores(method) for method in run.methods}
    names = dict.fromkeys(n for own in known.values() for row in own.values() for n in row)
    metric = frame_metric(columns or names)
    scores = {
        key: [_score(known[m].get(key, {}), frames[m].get(key), metric) for m in run.methods]
        for key in keys
    }
    ranked = sorted(keys, key=lambda key: _rank(scores[key]))
    films, more_notes = _films(run, ranked, options)
    notes += more_notes
    if metric == "dice_max" and columns:
        notes.append(
            "Dice over time is dice_max of each frame's own curve, of the stretched map: a "
            "different number than Dice at 0.5, which protocol=both adds."
        )
    several = len(run.methods) > 1
    further = [name for name in names if not is_built_in(name)]
    wanted = [n for n in (*_VPS_OF_CLIPS, *further) if n in names and n != metric]
    more = [] if several else wanted
    rows, blocks = [], []
    for key in ranked:
        own = {m: frames[m][key] for m in run.methods if key in frames[m]}
        content = _content(key, own, metric, options)
        own_more = [_cell(known[m].get(key, {}).get(n), run.info(n)) for m in known for n in more]
        rows.append([*_row(key, content, scores[key], films.get(key)), *own_more])
        blocks.append(_block(content, films.get(key)))
    scored = [f"{metric}: {m}" if several else metric for m in run.methods]
    header = ["clip", *scored, "subset", "frames", "lowest frame", "bad frames", "pictures", *more]
    title = f"{len(ranked)} clips, at first by {metric}, lowest first"
    return Clips(Table(title, header, rows), blocks, notes)


def _score(known: Mapping[str, float | None], rows: Rows | None, metric: str) -> float | None:
    """Return the clip's own score; where nothing of it is a polyp, that of its frames or None."""
    value = known.get(metric)
    if value is None and rows and any(row.get(metric) for row in rows):
        return clip_score(rows, metric)
    return value


def _rank(scores: Sequence[float | None]) -> float:
    there = [score for score in scores if score is not None]
    return sum(there) / len(there) if there else math.inf


def _films(
    run: RunFolder, ranked: Sequence[Key], options: ReportOptions
) -> tuple[dict[Key, dict[str, Any]], list[str]]:
    """Return films within the limit of size: subsets take turns, each with its worst clips."""
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
    """Return what the player shows of a clip besides its film."""
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
    """Return runs of low-quality frames, and of frames below the limit of Dice."""
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
    film: Mapping[str, Any] | None,
) -> list[Cell]:
    dice = [v for values in content["dice"].values() for v in values if v is not None]
    bad = {i for run in content["runs"] for i in range(run["start"], run["stop"])}
    frames = len(content["frames"])
    name = quote(f"{key[0]}/{key[1]}", safe="/")
    pictures = Cell(NONE, value="")
    if film:
        every = film["every"]
        text = "all frames" if every == 1 else f"every {_ordinal(every)}"
        pictures = Cell(text, value=f"{every:09}")
    return [
        Cell(key[1], value=key[1], link=f"#clip={name}"),
        *(_cell(score) for score in scores),
        Cell(key[0], value=key[0]),
        Cell(str(frames) if frames else NONE, True, value=frames),
        _cell(min(dice, default=None)),
        Cell(str(len(bad)) if frames else NONE, True, value=len(bad)),
        pictures,
    ]


def _block(content: dict[str, Any], film: Mapping[str, Any] | None) -> str:
    """Return JSON that cannot end the script element that it is in."""
    why = "" if film else "No pictures of this clip were kept; Dice over time is below."
    text = json.dumps({**content, "film": film, "why": why}, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _cell(value: float | None, info: ScoreInfo = _DICE) -> Cell:
    return Cell(info.text(value), True, value=value)


def _number(text: str | None) -> float | None:
    return round(float(text), 4) if text else None


def _count(text: str | None) -> int | None:
    return int(text) if text else None


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number // 10 % 10 != 1 else 0, "th")
    return f"{number}{ending} frame"
