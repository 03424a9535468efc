"""Films of the clips of an evaluation, read while frames, masks and maps are still there."""

import logging
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sali.data.frames import read_frame
from sali.errors import FrameError
from sali.evaluation.ground_truth import frame_paths
from sali.evaluation.reading import read_grey
from sali.evaluation.run import Evaluation
from sali.evaluation.scoring import truth_mask
from sali.evaluation.trees import ClipMaps
from sali.metrics.calibration import PROBABILITIES
from sali.metrics.counted_frame import ByteArray
from sali.metrics.vps import match_size
from sali.report.clips import metric_of
from sali.report.film import Film, FilmRules, film_path, films_folder
from sali.report.film_choice import clip_score
from sali.report.folder import RunFolder
from sali.report.options import ReportOptions
from sali.run.workers import workers

log = logging.getLogger(__name__)
_CLIPS_PER_WORKER = 4
"""Fewer are read sooner than a process has started."""


class _Task(NamedTuple):
    """One clip, and its maps by every method."""

    maps: tuple[ClipMaps, ...]
    threshold: float
    rules: FilmRules
    path: Path


def keep_films(done: Evaluation, options: ReportOptions) -> None:
    """Keep films of the clips that `options.clips` chooses by what an evaluation wrote.

    Args:
        done: The evaluation, whose results are in its folder.
        options: Options of the page.
    """
    output, settings = done.output, done.settings
    shutil.rmtree(films_folder(output), ignore_errors=True)
    every: dict[tuple[str, str], tuple[ClipMaps, ...]] = {}
    for one in done.maps:
        key = one.truth.subset, one.truth.name
        every[key] = (*every.get(key, ()), one)
    tasks = [
        _Task(every[key], settings.clinical.threshold, options.film, film_path(output, *key))
        for key in _chosen(RunFolder(output), options)
    ]
    sizes = [min(len(task.maps[0].truth.files), options.film.max_frames) for task in tasks]
    with workers(settings.num_workers, len(tasks) // _CLIPS_PER_WORKER) as pool:
        lost = pool.run(_make_film, tasks, sizes, "pictures")
    if sum(lost):
        log.warning("%d frames could not be read; the report shows grey instead", sum(lost))


def _chosen(run: RunFolder, options: ReportOptions) -> list[tuple[str, str]]:
    """Subset and clip of those that are worth it, by their mean score over methods."""
    scores: dict[str, dict[str, list[float]]] = {}
    for method in run.methods:
        for (subset, clip), rows in run.frames(method).items():
            score = clip_score(rows, metric_of(rows[0]))
            scores.setdefault(subset, {}).setdefault(clip, []).append(score)
    return [
        (subset, clip)
        for subset, own in scores.items()
        for clip in options.clips.of({name: sum(v) / len(v) for name, v in own.items()})
    ]


def _make_film(task: _Task) -> int:
    """Write the film of a clip; returns how many of its frames could not be read."""
    truth = task.maps[0].truth
    film = Film(truth.subset, truth.name, len(truth.files), task.rules)
    paths = frame_paths(truth)
    lowest = np.searchsorted(PROBABILITIES, task.threshold)
    lost = 0
    for index, stem in enumerate(truth.stems):
        if not film.keeps(index):
            continue
        mask = truth_mask(task.maps[0], index)
        picture = None
        try:
            if stem in paths:
                picture, _ = read_frame(paths[stem], near=task.rules.height)
        except FrameError:
            lost += 1
        marked = {one.method: _map(one, index, mask) >= lowest for one in task.maps}
        film.add(index, picture, mask > 128, marked)
    film.save(task.path)
    return lost


def _map(maps: ClipMaps, index: int, mask: ByteArray) -> ByteArray:
    """The map in the size of its mask; empty where it is missing."""
    path = maps.map_path(index)
    return match_size(read_grey(path), mask.shape) if path.is_file() else np.zeros_like(mask)
