"""The numbers of an evaluation as files; `sali.report` makes tables, figures and pages of them.

Of one method: `metrics.json`, `clips.csv`, `frames.csv`, `curves.npz`, and `runs.csv` with
`quality=true`. With several methods, each has a folder of these, and `metrics.json` above holds
them all, with intervals and differences over clips. In the output itself: `attributes.csv` where
attributes are given, `run.json`.
"""

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from sali.data.clip_tables import write_rows
from sali.evaluation.differences import dice_max_intervals, differences
from sali.evaluation.results import MethodResults, clip_rows, score_names
from sali.evaluation.scoring import frame_columns
from sali.run.io import atomic_write, write_json

NO_ATTRIBUTE = "(none)"
"""Stands for the clips without any attribute."""


def write_method(
    method: MethodResults, folder: Path, store: Path, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write what concerns one method; return the content of metrics.json.

    The rows of frames.csv are in `store`, clip by clip; `facts` is further content of metrics.json.
    """
    content = {**facts, **method.metrics()}
    folder.mkdir(parents=True, exist_ok=True)
    rows = clip_rows(method)
    write_rows(folder / "clips.csv", list(rows[0]), rows)
    # All clips in order, without reading them into memory.
    with atomic_write(folder / "frames.csv") as partial, partial.open("w", newline="") as joined:
        csv.writer(joined, lineterminator="\n").writerow(frame_columns(method.settings))
        for clip in method.clips:
            with (store / clip.subset / f"{clip.name}.csv").open(newline="") as own:
                shutil.copyfileobj(own, joined)
    if method.settings.with_low:
        columns = ("subset", "clip", "first", "last", "frames", "broken_limits")
        write_rows(folder / "runs.csv", columns, _low_runs(folder / "frames.csv"))
    with atomic_write(folder / "curves.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(file, **method.curves())  # type: ignore[arg-type]
    write_json(folder / "metrics.json", content)
    return content


def write_joint(
    methods: Sequence[MethodResults],
    contents: dict[str, dict[str, Any]],
    attributes: dict[str, tuple[str, ...]] | None,
    output: Path,
) -> dict[str, Any]:
    """Write what concerns all methods together; return the content of `<output>/metrics.json`."""
    if attributes is not None:
        rows = attribute_rows(methods, attributes)
        write_rows(output / "attributes.csv", list(rows[0]), rows)
    if len(methods) == 1:
        return contents[methods[0].name]
    settings = methods[0].settings
    joint = {
        "protocol": settings.protocol,
        "methods": contents,
        "differences": differences(methods),
        "intervals": {m.name: dice_max_intervals(m) for m in methods} if settings.with_vps else {},
        "bootstrap": asdict(settings.bootstrap),
    }
    write_json(output / "metrics.json", joint)
    return joint


def attribute_rows(
    methods: Sequence[MethodResults], attributes: dict[str, tuple[str, ...]]
) -> list[dict[str, Any]]:
    """Return the rows of attributes.csv: scores over the clips of an attribute, as of a subset."""
    rows: list[dict[str, Any]] = []
    names = sorted({name for own in attributes.values() for name in own})
    for method in methods:
        for subset, own in method.by_subset.items():
            for name in [*names, NO_ATTRIBUTE]:
                clips = [c for c in own if name in (attributes[c.name] or (NO_ATTRIBUTE,))]
                if clips:
                    about = {"subset": subset, "attribute": name, "method": method.name}
                    scores = dict.fromkeys(score_names(method.settings)) | method.scores(clips)
                    rows.append({**about, "clips": len(clips), **scores})
    return sorted(rows, key=lambda row: (row["subset"], row["attribute"]))


def rows_by_clip(path: Path) -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """Read frames.csv clip by clip: subset, clip and the rows of its frames in order."""
    with path.open(newline="") as file:
        for (subset, clip), rows in groupby(csv.DictReader(file), itemgetter("subset", "clip")):
            yield subset, clip, list(rows)


def _low_runs(frames: Path) -> Iterator[dict[str, Any]]:
    """Yield runs of low-quality frames, by name, so that others can build the same subset."""
    for subset, clip, frame_rows in rows_by_clip(frames):
        for is_low, group in groupby(frame_rows, itemgetter("low_quality")):
            if is_low == "1":
                rows = list(group)
                limits = {name for row in rows for name in row["broken_limits"].split("+")}
                yield {
                    "subset": subset,
                    "clip": clip,
                    "first": rows[0]["frame"],
                    "last": rows[-1]["frame"],
                    "frames": len(rows),
                    "broken_limits": "+".join(sorted(limits)),
                }
