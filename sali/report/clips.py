"""The list of clips, and what the player shows of each."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from sali.metrics.frame_quality import consecutive_runs
from sali.metrics.scores import NONE, ScoreInfo, is_built_in, score_info
from sali.report.folder import Key, Rows, RunFolder, clip_score, frame_metric
from sali.report.options import ReportOptions
from sali.report.table import Cell, Table
from sali.run.io import read_json

_DICE = score_info("dice_max")
_VPS_OF_CLIPS = ("dice_max", "dice_mean")


class Clips(NamedTuple):
    """All clips of a test: a row each, worst first, its JSON, and what is not shown, and why."""

    table: Table
    blocks: list[Markup]
    notes: list[str]


def read_clips(run: RunFolder, options: ReportOptions) -> Clips | None:
    """Return the clips of a finished test; None without one."""
    notes = []
    frames, known = run.frames, {method: run.clip_scores(method) for method in run.methods}
    keys = dict.fromkeys(key for own in frames.values() for key in own)
    if not keys:
        keys = dict.fromkeys(key for own in known.values() for key in own)
        notes.append("There is no Dice over time: the folder holds no frames.csv.")
    if not keys:
        return None
    columns = next((rows[0] for own in frames.values() for rows in own.values()), {})
    names = dict.fromkeys(n for own in known.values() for row in own.values() for n in row)
    metric = frame_metric(columns or names)
    scores = {
        key: [_score(known[m].get(key, {}), frames[m].get(key), metric) for m in run.methods]
        for key in keys
    }

    def mean(key: Key) -> float:
        there = [score for score in scores[key] if score is not None]
        return sum(there) / len(there) if there else math.inf

    ranked = sorted(keys, key=mean)
    films, more_notes = _films(run, ranked, options)
    notes += more_notes
    if metric == "dice_max" and columns:
        notes.append(
            "Dice over time is dice_max of each frame's own curve, of the stretched map: a "
            "different number than Dice at 0.5, which protocol=both adds."
        )
    several = len(run.methods) > 1
    wanted = [*_VPS_OF_CLIPS, *(name for name in names if not is_built_in(name))]
    more = [] if several else [name for name in wanted if name in names and name != metric]
    rows, blocks = [], []
    for key in ranked:
        own = {method: frames[method][key] for method in frames if key in frames[method]}
        content = _content(key, own, metric, options, films.get(key))
        blocks.append(_block(content))
        further = [
            (known[method].get(key, {}).get(n), run.info(n)) for method in known for n in more
        ]
        rows.append([*_row(content, scores[key]), *(_cell(*one) for one in further)])
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


def _films(
    run: RunFolder, ranked: Sequence[Key], options: ReportOptions
) -> tuple[dict[Key, dict[str, Any]], list[str]]:
    """Return films within the limit of size: subsets take turns, each with its worst clips."""
    paths = run.films()
    turns: Counter[str] = Counter()
    turn_of: dict[Key, int] = {}
    for key in (key for key in ranked if key in paths):
        turns[key[0]] += 1
        turn_of[key] = turns[key[0]]
    left = options.max_megabytes * 1e6
    found: dict[Key, dict[str, Any]] = {}
    for key in sorted(turn_of, key=turn_of.__getitem__):
        size = paths[key].stat().st_size
        if size <= left:
            left -= size
            found[key] = read_json(paths[key])
    if not turn_of:
        return found, ["No clip has pictures: none were kept in report/clips of the folder."]
    notes = [
        f"{len(found)} of {len(ranked)} clips have pictures; of the others Dice over time is "
        "shown. report.clips says how many clips of a subset are kept."
    ]
    if len(found) < len(turn_of):
        notes.append(
            f"{len(turn_of) - len(found)} clips that were kept are not shown in pictures: they are "
            f"beyond report.max_megabytes={options.max_megabytes:g}."
        )
    thinned = sum(film["every"] > 1 for film in found.values())
    if thinned:
        shown = sum(len(film["frames"]) for film in found.values())
        total = sum(film["num_frames"] for film in found.values())
        notes.append(
            f"{thinned} of these clips are thinned: {shown} of {total} frames are shown in "
            "pictures; the player says which."
        )
    return found, notes


def _content(
    key: Key,
    frames: Mapping[str, Rows],
    metric: str,
    options: ReportOptions,
    film: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return what the player shows of a clip."""

    def whole(row: Mapping[str, str], name: str) -> int | None:
        return int(row[name]) if row.get(name) else None

    first = next(iter(frames.values()), [])
    dice = {
        method: [round(float(row[metric]), 4) if row.get(metric) else None for row in rows]
        for method, rows in frames.items()
    }
    runs = [
        {"kind": "quality", "start": start, "stop": stop, "text": "low-quality frames"}
        for start, stop in consecutive_runs((r.get("low_quality") == "1" for r in first), 1)
    ]
    for method, values in dice.items():
        is_bad = (value is not None and value < options.bad_dice for value in values)
        text = f"{metric} below {options.bad_dice:g}" + (f", {method}" if len(dice) > 1 else "")
        runs += [
            {"kind": "dice", "start": start, "stop": stop, "text": text}
            for start, stop in consecutive_runs(is_bad, options.min_run)
        ]
    return {
        "subset": key[0],
        "clip": key[1],
        "metric": metric,
        "methods": list(frames),
        "frames": [row["frame"] for row in first],
        "dice": dice,
        "marked": {m: [whole(row, "marked_pixels") for row in r] for m, r in frames.items()},
        "polyp": [whole(row, "polyp_pixels") for row in first],
        "runs": runs,
        "film": film,
    }


def _row(content: Mapping[str, Any], scores: Sequence[float | None]) -> list[Cell]:
    subset, clip, film = content["subset"], content["clip"], content["film"]
    dice = [v for values in content["dice"].values() for v in values if v is not None]
    bad = {i for run in content["runs"] for i in range(run["start"], run["stop"])}
    frames = len(content["frames"])
    pictures = Cell(NONE, value="")
    if film:
        text = "all frames" if film["every"] == 1 else f"1 frame in {film['every']}"
        pictures = Cell(text, value=f"{film['every']:09}")
    return [
        Cell(clip, value=clip, link=f"#clip={quote(f'{subset}/{clip}', safe='/')}"),
        *(_cell(score) for score in scores),
        Cell(subset, value=subset),
        Cell(str(frames) if frames else NONE, True, value=frames),
        _cell(min(dice, default=None)),
        Cell(str(len(bad)) if frames else NONE, True, value=len(bad)),
        pictures,
    ]


def _cell(value: float | None, info: ScoreInfo = _DICE) -> Cell:
    return Cell(info.text(value), True, value=value)


def _block(content: dict[str, Any]) -> Markup:
    """Return JSON that cannot end the script element that it is in."""
    text = json.dumps(content, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
