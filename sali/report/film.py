"""Films: clips as small pictures and outlines, which a page plays.

Each is one JSON file, made while frames, masks and maps are still there; a page can be made again
without them.
"""

import base64
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sali.data.frames import read_frame
from sali.errors import FrameError
from sali.evaluation.inputs import ClipMaps, read_truth
from sali.evaluation.run import Evaluation
from sali.metrics.calibration import PROBABILITIES
from sali.metrics.counted_frame import BoolArray, ByteArray
from sali.report.folder import Key, RunFolder, clip_score, films_folder, frame_metric
from sali.report.frames import read_map
from sali.report.options import ReportOptions
from sali.report.overlay import jpeg
from sali.run.io import write_json
from sali.run.workers import workers

log = logging.getLogger(__name__)
_CLIPS_PER_WORKER = 4
"""Fewer are done sooner than a process has started."""


FilmFrame = tuple[ByteArray | None, BoolArray | None, Mapping[str, BoolArray]]
"""Frame, RGB uint8 [h, w, 3] of any size, None where it cannot be read; true mask, bool [H, W],
None where nobody annotated the frame; predicted masks, bool [H, W], by method."""


def save_films(run: RunFolder, done: Evaluation, options: ReportOptions) -> None:
    """Write films of the clips that `options.clips` chooses, by their mean score over methods."""
    shutil.rmtree(films_folder(run.path), ignore_errors=True)
    every: dict[Key, list[ClipMaps]] = {}
    for one in done.maps:
        every.setdefault((one.truth.subset, one.truth.name), []).append(one)
    level = done.settings.clinical.threshold
    tasks = [
        (every[subset, clip], level, dict(options.film), path)
        for subset, clip in _chosen(run, options)
        for path in [films_folder(run.path) / subset / f"{clip}.json"]
    ]
    sizes = [min(len(maps[0].truth), options.film["max_frames"]) for maps, *_ in tasks]
    with workers(done.settings.num_workers, len(tasks) // _CLIPS_PER_WORKER) as pool:
        lost = sum(pool.run(_make, tasks, sizes, "pictures"))
    if lost:
        log.warning("%d frames could not be read; the report shows grey instead", lost)


def _chosen(run: RunFolder, options: ReportOptions) -> list[Key]:
    scores: dict[str, dict[str, list[float]]] = {}
    for by_clip in run.frames.values():
        for (subset, clip), rows in by_clip.items():
            score = clip_score(rows, frame_metric(rows[0]))
            scores.setdefault(subset, {}).setdefault(clip, []).append(score)
    return [
        (subset, clip)
        for subset, own in scores.items()
        for clip in choose({name: sum(v) / len(v) for name, v in own.items()}, **options.clips)
    ]


def choose(scores: Mapping[str, float], worst: int, median: int, best: int) -> list[str]:
    """Return the chosen names, the worst first, then the middle, then the best."""
    ranked = sorted(scores, key=lambda name: scores[name])
    start = max(0, (len(ranked) - median) // 2)
    last = ranked[max(0, len(ranked) - best) :]
    return list(dict.fromkeys([*ranked[:worst], *ranked[start : start + median], *last]))


def _make(maps: list[ClipMaps], threshold: float, film: dict[str, Any], path: Path) -> int:
    """Write the film of a clip; return how many of its frames could not be read."""
    truth = maps[0].truth
    lowest = np.searchsorted(PROBABILITIES, threshold)
    lost = 0

    def read(index: int) -> FilmFrame:
        nonlocal lost
        mask, picture = read_truth(truth, index), None
        is_annotated = truth.masks[index] is not None or truth.is_polyp_free
        try:
            if truth.frames:
                picture, _ = read_frame(truth.frames[index], near=film["height"])
        except FrameError:
            lost += 1
        marked = {one.method: read_map(one, index, mask) >= lowest for one in maps}
        return picture, mask if is_annotated else None, marked

    write_film(path, len(truth), read, **film)
    return lost


def write_film(
    path: Path,
    num_frames: int,
    read: Callable[[int], FilmFrame],
    max_frames: int,
    height: int,
    quality: int,
    tolerance: float,
) -> None:
    """Write the film of a clip, whose frames `read` returns by their place in the clip."""
    size = (0, 0)

    def small(picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    def outlines(mask: BoolArray) -> list[list[int]]:
        """Return closed polygons, each x, y, x, y ... in pixels of the small picture."""
        area = (small(mask.astype(np.float32)) >= 0.5).astype(np.uint8)
        found, _ = cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        return [cv2.approxPolyDP(points, tolerance, True).ravel().tolist() for points in found]

    every = -(-num_frames // max_frames)
    frames: list[dict[str, Any]] = []
    for index in range(0, num_frames, every):
        picture, truth, predictions = read(index)
        if not frames:
            shape = next(iter(predictions.values())).shape
            size = max(1, round(height * shape[1] / shape[0])), height
        code = None if picture is None else base64.b64encode(jpeg(small(picture), quality)).decode()
        marked = {method: outlines(mask) for method, mask in predictions.items()}
        outlined = None if truth is None else outlines(truth)
        frames.append({"index": index, "picture": code, "truth": outlined, "predictions": marked})
    content = {"num_frames": num_frames, "every": every, "width": size[0], "height": size[1]}
    write_json(path, {**content, "frames": frames}, indent=None)
