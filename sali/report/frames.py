"""What an evaluation shows of single frames, made while frames, masks and maps are still there.

Dice over the time of each clip, the worst frames, and the films that a page plays.
"""

import heapq
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sali.data.frames import Mask, read_frame, read_grey
from sali.errors import FrameError
from sali.evaluation.inputs import ClipMaps, read_truth
from sali.evaluation.run import Evaluation
from sali.metrics.calibration import PROBABILITIES
from sali.metrics.counted_frame import BoolArray, ByteArray, FloatArray
from sali.metrics.frame_quality import consecutive_runs
from sali.metrics.vps import match_size
from sali.report import plots
from sali.report.figures import FOLDER
from sali.report.film import Film, film_path
from sali.report.folder import Key, Rows, RunFolder, clip_score, films_folder, frame_metric
from sali.report.options import FilmRules, ReportOptions
from sali.report.overlay import PREDICTION_RGB, TRUTH_RGB, draw_overlay
from sali.report.style import INK, PAD_INCHES, TITLE, WIDTH, legend_below, new_figure, save, wrapped
from sali.run.workers import workers

log = logging.getLogger(__name__)
_CELL_INCHES, _CELL_PIXELS = 2.3, 460
_TITLE_POINTS, _TITLE_LINE_INCHES, _TITLE_CHARACTERS = 8.0, 0.145, 32
_COLUMNS = 3
_TRUTH_GREY = 90
# Fewer are done sooner than a process has started.
_CLIPS_PER_WORKER = {"drawing": 16, "pictures": 4}


class WorstFrame(NamedTuple):
    """One picture of a contact sheet.

    Attributes:
        frame: Frame, RGB uint8 [H, W, 3].
        prediction: Map, uint8 [H, W].
        mask: Ground truth, bool [H, W].
        title: Name of the frame, and its score; long lines are wrapped.
    """

    frame: ByteArray
    prediction: ByteArray
    mask: Mask
    title: str


def save_frame_figures(run: RunFolder, done: Evaluation, options: ReportOptions) -> list[Path]:
    """Write `dice_over_time/<subset>/<clip>` and `worst_frames_<subset>` of each method.

    Args:
        run: Folder of the evaluation.
        done: The evaluation.
        options: Choices of the report.

    Returns:
        Paths without endings.
    """
    drawn = []
    for method, by_clip in run.frames.items():
        maps = {
            (one.truth.subset, one.truth.name): one for one in done.maps if one.method == method
        }
        folder = run.home(method) / FOLDER
        drawn += _over_time(method, by_clip, folder, done.settings.num_workers)
        level = done.settings.clinical.threshold
        for subset, found in _lowest(by_clip, options.worst_frames).items():
            items = [_worst(maps[subset, row["clip"]], row) for row in found]
            metric = frame_metric(found[0])
            title = f"{subset}: frames of the lowest {metric}, {method}"
            drawn.append(folder / f"worst_frames_{subset}")
            save(worst_frames(items, threshold=level, title=title), drawn[-1])
    return drawn


class _OverTime(NamedTuple):
    """Where a figure of `plots.dice_over_time` goes, and its arguments."""

    stem: Path
    title: str
    dice: FloatArray
    bad_runs: list[tuple[int, int]]
    has_polyp: BoolArray
    metric: str


def _draw_over_time(task: _OverTime) -> None:
    save(plots.dice_over_time(*task[1:]), task.stem)


def _over_time(
    method: str, by_clip: dict[Key, Rows], folder: Path, num_workers: int | None
) -> list[Path]:
    tasks = []
    for (subset, clip), rows in by_clip.items():
        metric = frame_metric(rows[0])
        if metric in rows[0] and metric != "dice_max" and any(row[metric] for row in rows):
            tasks.append(
                _OverTime(
                    folder / "dice_over_time" / subset / clip,
                    f"{subset}/{clip}: {method}",
                    np.asarray([float(row[metric] or "nan") for row in rows]),
                    consecutive_runs([row.get("low_quality") == "1" for row in rows], 1),
                    np.asarray([row["polyp_pixels"] != "0" for row in rows]),
                    metric,
                )
            )
    sizes = [task.dice.size for task in tasks]
    with workers(num_workers, len(tasks) // _CLIPS_PER_WORKER["drawing"]) as pool:
        pool.run(_draw_over_time, tasks, sizes, "drawing")
    return [task.stem for task in tasks]


def _lowest(by_clip: dict[Key, Rows], number: int) -> dict[str, Rows]:
    """Rows of the lowest Dice by subset; of the same, mostly 0, the clips take turns."""
    ranked: dict[str, list[tuple[float, int, dict[str, str]]]] = {}
    for (subset, _), rows in by_clip.items():
        metric = frame_metric(rows[0])
        turns: Counter[float] = Counter()
        for row in rows if metric != "dice_max" else ():
            if row[metric]:
                value = float(row[metric])
                turns[value] += 1
                ranked.setdefault(subset, []).append((value, turns[value], row))
    return {
        subset: [row for _, _, row in heapq.nsmallest(number, own, key=itemgetter(0, 1))]
        for subset, own in ranked.items()
        if number
    }


def _worst(maps: ClipMaps, row: dict[str, str]) -> WorstFrame:
    index, metric = int(row["index"]), frame_metric(row)
    mask = read_truth(maps.truth, index)
    prediction = read_map(maps, index, mask)
    peak = f"peak {prediction.max() / 255:.2f}" if row["map"] == "there" else "map missing"
    title = f"{row['clip']} {row['frame']}\n{metric} {float(row[metric]):.3f}, {peak}"
    return WorstFrame(background(maps, index, mask), prediction, mask, title)


def background(maps: ClipMaps, index: int, mask: Mask) -> ByteArray:
    """Return a frame in the size of its mask, or else the mask in grey, RGB uint8 [H, W, 3]."""
    try:
        if maps.truth.frames:
            frame, _ = read_frame(maps.truth.frames[index])
            return np.asarray(cv2.resize(frame, mask.shape[::-1]), np.uint8)
    except FrameError as error:
        log.warning("%s; a figure shows its mask instead", error)
    return np.repeat(np.where(mask, _TRUTH_GREY, 0).astype(np.uint8)[..., None], 3, axis=2)


def worst_frames(items: Sequence[WorstFrame], threshold: float, title: str = "") -> Figure:
    """Return a contact sheet of frames with truth and prediction drawn over them.

    Args:
        items: Frames, worst first; sizes may differ.
        threshold: Probability from which on the contour of the prediction is drawn.
        title: Text above the sheet.
    """
    pictures = [_overlay(item, threshold) for item in items]
    titles = [wrapped(item.title, _TITLE_CHARACTERS) for item in items]
    columns = min(_COLUMNS, len(items))
    num_rows = -(-len(items) // columns)
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    row_inches = (
        (_CELL_INCHES - 2 * PAD_INCHES) * tallest
        + _TITLE_LINE_INCHES * max(text.count("\n") + 1 for text in titles)
        + 3 * PAD_INCHES
    )
    height = row_inches * num_rows + 0.5 + 0.3 * bool(title)
    figure = new_figure(max(_CELL_INCHES * columns, WIDTH), height)
    cells = figure.subplots(num_rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis("off")
        axes.set_anchor("N")
    look = {"fontsize": _TITLE_POINTS, "color": INK, "family": "monospace"}
    for axes, picture, text in zip(cells, pictures, titles, strict=False):
        axes.imshow(picture, interpolation="antialiased")
        axes.set_title(text, loc="left", pad=3, **look)
    if title:
        figure.suptitle(title, fontsize=TITLE, color=INK)
    handles = [
        Patch(facecolor="#{:02X}{:02X}{:02X}".format(*colour), edgecolor=INK, linewidth=0.6)
        for colour in (TRUTH_RGB, PREDICTION_RGB)
    ]
    texts = ["truth", f"prediction at {threshold:g} (tint: probability)"]
    legend_below(figure, handles, texts, columns=2)
    return figure


def _overlay(item: WorstFrame, threshold: float) -> ByteArray:
    """Draw the overlay at the size of a cell, so that contours stay visible."""
    height, width = item.mask.shape
    scale = _CELL_PIXELS / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return draw_overlay(
        cv2.resize(item.frame, shape, interpolation=smooth),
        cv2.resize(item.prediction.astype(np.float32) / 255, shape, interpolation=smooth),
        cv2.resize(item.mask.astype(np.float32), shape, interpolation=smooth) >= 0.5,
        threshold,
    )


class _FilmTask(NamedTuple):
    """One clip, and its maps by every method."""

    maps: tuple[ClipMaps, ...]
    threshold: float
    rules: FilmRules
    path: Path


def save_films(run: RunFolder, done: Evaluation, options: ReportOptions) -> None:
    """Write films of the clips that `options.clips` chooses, by their mean score over methods.

    Args:
        run: Folder of the evaluation.
        done: The evaluation.
        options: Choices of the report.
    """
    shutil.rmtree(films_folder(run.path), ignore_errors=True)
    every: dict[Key, list[ClipMaps]] = {}
    for one in done.maps:
        every.setdefault((one.truth.subset, one.truth.name), []).append(one)
    level = done.settings.clinical.threshold
    tasks = [
        _FilmTask(tuple(every[key]), level, options.film, film_path(run.path, *key))
        for key in _chosen(run, options)
    ]
    sizes = [min(len(task.maps[0].truth), options.film.max_frames) for task in tasks]
    per_worker = _CLIPS_PER_WORKER["pictures"]
    with workers(done.settings.num_workers, len(tasks) // per_worker) as pool:
        lost = sum(pool.run(_make_film, tasks, sizes, "pictures"))
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
        for clip in options.clips.of({name: sum(v) / len(v) for name, v in own.items()})
    ]


def _make_film(task: _FilmTask) -> int:
    """Write the film of a clip; return how many of its frames could not be read."""
    truth = task.maps[0].truth
    film = Film(truth.subset, truth.name, len(truth), task.rules)
    lowest = np.searchsorted(PROBABILITIES, task.threshold)
    lost = 0
    for index in filter(film.keeps, range(len(truth))):
        mask = read_truth(truth, index)
        picture = None
        try:
            if truth.frames:
                picture, _ = read_frame(truth.frames[index], near=task.rules.height)
        except FrameError:
            lost += 1
        marked = {one.method: read_map(one, index, mask) >= lowest for one in task.maps}
        film.add(index, picture, mask, marked)
    film.save(task.path)
    return lost


def read_map(maps: ClipMaps, index: int, mask: Mask) -> ByteArray:
    """Return a map in the size of its mask, uint8 [H, W]; empty where it is missing."""
    path = maps.map_path(index)
    if not path.is_file():
        return np.zeros(mask.shape, np.uint8)
    return match_size(read_grey(path), mask.shape)
