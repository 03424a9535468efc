"""Files of an evaluation.

Of one method: `metrics.json`, `clips.csv`, `frames.csv`, `curves.npz`, and `runs.csv` with
`quality=true`. With several methods, each has a folder of these, and `metrics.json` above holds
them all. In the output itself: `table.md`, `table.tex`, `comparison.md` beside published results
(SUN-SEG only), `attributes.md` and `attributes.csv` where attributes are given, `run.json`.
Figures: see `sali.evaluation.pictures`.
"""

import csv
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from sali.evaluation.attributes import attribute_figures
from sali.evaluation.differences import Difference, differences, differences_markdown
from sali.evaluation.frame_rows import frame_columns, rows_by_clip
from sali.evaluation.ground_truth import TEST_SUBSETS
from sali.evaluation.notes import notes
from sali.evaluation.published import comparison, other_data
from sali.evaluation.results import MethodResults, clip_columns, clip_rows, figure_names
from sali.evaluation.settings import Settings
from sali.evaluation.tables import Row, Table, to_latex, to_markdown
from sali.metrics.clinical_summary import clinical_names
from sali.metrics.vps import METRIC_NAMES


def write_method(
    method: MethodResults, folder: Path, store: Path, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write what concerns one method.

    Args:
        method: Results of the method.
        folder: Folder to write to.
        store: Folder in which the rows of frames.csv were kept, clip by clip.
        facts: Further content of metrics.json, by key.

    Returns:
        Content of metrics.json.
    """
    from sali.run.io import write_json

    content = {**facts, **method.metrics()}
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "clips.csv", clip_columns(method.settings), clip_rows(method))
    _join_frames(method, folder / "frames.csv", store)
    if method.settings.quality:
        columns = ("subset", "clip", "first", "last", "frames", "broken_limits")
        write_rows(folder / "runs.csv", columns, _low_runs(folder / "frames.csv"))
    np.savez_compressed(folder / "curves.npz", **method.curves())  # type: ignore[arg-type]
    write_json(folder / "metrics.json", content)
    return content


def write_joint(
    methods: Sequence[MethodResults],
    contents: dict[str, dict[str, Any]],
    attributes: dict[str, tuple[str, ...]] | None,
    output: Path,
) -> dict[str, Any]:
    """Writes what concerns all methods together; returns the content of metrics.json."""
    from sali.run.io import write_json

    settings = methods[0].settings
    found = differences(methods) if len(methods) > 1 else []
    tables = _tables(methods, settings)
    text = "".join(f"# {title}\n\n{to_markdown(table)}\n" for title, table in tables.items())
    if found:
        text += f"# Differences\n\n{differences_markdown(found, settings.bootstrap.confidence)}\n"
    told = [*_rules(settings), *_notes(methods)]
    (output / "table.md").write_text(text + "".join(f"- {line}\n" for line in told))
    latex = [to_latex(table, title) for title, table in tables.items()]
    (output / "table.tex").write_text("\n".join(latex))
    if set(methods[0].subsets) & set(TEST_SUBSETS):
        figures = {m.name: {s: m.figures(m.of(s)) for s in m.subsets} for m in methods}
        told = other_data({s: len(methods[0].of(s)) for s in methods[0].subsets})
        (output / "comparison.md").write_text(comparison(figures, [*told, *_notes(methods)]))
    if attributes is not None:
        _write_attributes(methods, attributes, output)
    if len(methods) == 1:
        return contents[methods[0].name]
    joint = {
        "protocol": settings.protocol,
        "methods": contents,
        "differences": [_difference_content(one) for one in found],
    }
    write_json(output / "metrics.json", joint)
    return joint


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Writes a CSV file; None is an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _join_frames(method: MethodResults, path: Path, store: Path) -> None:
    """Puts the rows of all clips into one file, in order, without reading them into memory."""
    with path.open("w", newline="") as joined:
        csv.writer(joined, lineterminator="\n").writerow(frame_columns(method.settings))
        for clip in method.clips:
            with (store / clip.subset / f"{clip.name}.csv").open(newline="") as rows:
                shutil.copyfileobj(rows, joined)


def _low_runs(frames: Path) -> Iterator[dict[str, Any]]:
    """Runs of low-quality frames, by name, so that others can build the same subset."""
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


def _tables(methods: Sequence[MethodResults], settings: Settings) -> dict[str, Table]:
    """One table per protocol, and the same for low-quality frames."""
    tables = {}
    parts = [("", methods)]
    if settings.quality:
        parts.append((", runs of low-quality frames", [m.low_quality() for m in methods]))
    for suffix, part in parts:
        if settings.with_vps:
            tables[f"VPS protocol{suffix}"] = _table(part, METRIC_NAMES)
        if settings.with_clinical:
            names = clinical_names(settings.clinical)
            tables[f"Clinical protocol{suffix}"] = _table(part, names)
    return {title: table for title, table in tables.items() if table.rows}


def _table(methods: Sequence[MethodResults], columns: tuple[str, ...]) -> Table:
    is_vps = columns == METRIC_NAMES
    rows = []
    for subset in dict.fromkeys(name for method in methods for name in method.subsets):
        for method in methods:
            clips = method.in_vps(method.of(subset)) if is_vps else method.of(subset)
            if clips:
                labels = (subset, method.name, str(len(clips)))
                rows.append(Row(subset, labels, method.figures(clips)))
    return Table(("subset", "method", "clips"), columns, tuple(rows))


def _write_attributes(
    methods: Sequence[MethodResults], attributes: dict[str, tuple[str, ...]], output: Path
) -> None:
    found = attribute_figures(methods, attributes)
    columns = tuple(figure_names(methods[0].settings))
    rows = tuple(
        Row(f"{subset}/{name}", (subset, name, method, str(number)), figures)
        for subset, name, method, number, figures in found
    )
    labels = ("subset", "attribute", "method", "clips")
    (output / "attributes.md").write_text(to_markdown(Table(labels, columns, rows)))
    flat = [dict(zip(labels, row.labels, strict=True)) | row.figures for row in rows]
    write_rows(output / "attributes.csv", [*labels, *columns], flat)


def _rules(settings: Settings) -> list[str]:
    rules = settings.clinical
    told = []
    if settings.with_vps:
        told.append("VPS: every map is min-max stretched to 0-1 before it is scored")
    if settings.with_clinical:
        told.append(
            f"Clinical: raw probabilities at {rules.threshold:g}; "
            f"seconds at {rules.frames_per_second:g} frames per second"
        )
    return told


def _notes(methods: Sequence[MethodResults]) -> list[str]:
    return [
        f"{method.name}, {subset}: {note}"
        for method in methods
        for subset in method.subsets
        for note in notes(method, subset)
    ]


def _difference_content(one: Difference) -> dict[str, Any]:
    intervals = {name: interval._asdict() for name, interval in one.intervals.items()}
    return {**one._asdict(), "intervals": intervals}
