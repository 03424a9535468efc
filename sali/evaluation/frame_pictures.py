"""Figures of single frames: Dice over the time of each clip, and the worst frames."""

import heapq
import logging
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sali.errors import FrameError
from sali.evaluation.frame_rows import rows_by_clip
from sali.evaluation.ground_truth import frame_paths
from sali.evaluation.reading import read_frame, read_grey
from sali.evaluation.results import MethodResults
from sali.evaluation.scoring import truth_mask
from sali.evaluation.trees import ClipMaps
from sali.metrics.counted_frame import BoolArray, ByteArray, FloatArray
from sali.metrics.frame_quality import consecutive_runs
from sali.metrics.vps import match_size
from sali.report import plots
from sali.run.workers import workers

log = logging.getLogger(__name__)
_TRUTH_GREY = 90
_CLIPS_PER_WORKER = 16
"""Fewer are drawn sooner than a process has started."""


class _OverTime(NamedTuple):
    """Arguments of `plot_dice_over_time`."""

    title: str
    dice: FloatArray
    stem: Path
    runs: list[tuple[int, int]]
    has_polyp: BoolArray
    metric: str


def _draw_over_time(task: _OverTime) -> None:
    plots.plot_dice_over_time(
        task.title, task.dice, task.stem, task.runs, task.has_polyp, metric=task.metric
    )


def draw_frames(
    method: MethodResults, maps: Sequence[ClipMaps], rows_path: Path, folder: Path
) -> list[Path]:
    """Draws `dice_over_time/<subset>/<clip>` and `worst_frames_<subset>` of one method.

    Args:
        method: its results, with those of the clinical protocol.
        maps: its clips.
        rows_path: its frames.csv.
        folder: where to.

    Returns:
        Paths without ending.
    """
    settings = method.settings
    metric = f"dice_at_{settings.clinical.threshold:g}"
    by_clip = {(one.truth.subset, one.truth.name): one for one in maps}
    tasks = []
    worst: dict[str, list[tuple[float, int, dict[str, str]]]] = {}
    for subset, clip, rows in rows_by_clip(rows_path):
        scored = [(float(row[metric]), row) for row in rows if row[metric]]
        if not scored:
            continue
        dice = np.asarray([float(row[metric] or "nan") for row in rows])
        runs = consecutive_runs([row.get("low_quality") == "1" for row in rows], 1)
        stem = folder / "dice_over_time" / subset / clip
        has_polyp = np.asarray([row["polyp_pixels"] != "0" for row in rows])
        title = f"{subset}/{clip}: {method.name}"
        tasks.append(_OverTime(title, dice, stem, runs, has_polyp, metric))
        # Of frames with the same Dice, mostly 0, the clips take turns.
        turns: Counter[float] = Counter()
        ranked = worst.setdefault(subset, [])
        for value, row in scored:
            turns[value] += 1
            ranked.append((value, turns[value], row))
        worst[subset] = heapq.nsmallest(settings.worst_frames, ranked, key=itemgetter(0, 1))
    sizes = [task.dice.size for task in tasks]
    with workers(settings.num_workers, len(tasks) // _CLIPS_PER_WORKER) as pool:
        pool.run(_draw_over_time, tasks, sizes, "drawing")
    drawn = [task.stem for task in tasks]
    for subset, found in worst.items():
        if found:
            stem = folder / f"worst_frames_{subset}"
            items = [_worst(by_clip[subset, row["clip"]], row, metric) for _, _, row in found]
            plots.plot_worst_frames(
                items,
                stem,
                threshold=settings.clinical.threshold,
                title=f"{subset}: frames of the lowest {metric}, {method.name}",
            )
            drawn.append(stem)
    return drawn


def _worst(maps: ClipMaps, row: dict[str, str], metric: str) -> plots.WorstFrame:
    index = int(row["index"])
    mask = truth_mask(maps, index)
    prediction = np.zeros_like(mask)
    said = "map missing"
    if row["map"] == "there":
        prediction = match_size(read_grey(maps.map_path(index)), mask.shape)
        said = f"peak {prediction.max() / 255:.2f}"
    title = f"{row['clip']} {row['frame']}\n{metric} {float(row[metric]):.3f}, {said}"
    return plots.WorstFrame(background(maps, index, mask), prediction, mask, title)


def background(maps: ClipMaps, index: int, mask: ByteArray) -> ByteArray:
    """The frame in the size of its mask, or else the mask in grey on black."""
    path = frame_paths(maps.truth).get(maps.truth.stems[index])
    if path:
        try:
            return np.asarray(cv2.resize(read_frame(path), mask.shape[::-1]), np.uint8)
        except FrameError as error:
            log.warning("%s; a figure shows its mask instead", error)
    return np.repeat(np.where(mask > 128, _TRUTH_GREY, 0).astype(np.uint8)[..., None], 3, axis=2)
