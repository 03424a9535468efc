"""What is made while frames, masks and maps are still there.

Dice over the time of each clip, the worst frames, a sheet of frames, a short film as GIF; and the
films of a page, one JSON file for each clip, so that the page can be made again without them.
"""

import base64
import heapq
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from sali.data.frames import Mask, read_frame, read_grey
from sali.errors import FrameError
from sali.evaluation.inputs import ClipMaps, read_truth
from sali.evaluation.run import Evaluation
from sali.metrics.calibration import PROBABILITIES
from sali.metrics.counted_frame import BoolArray, ByteArray
from sali.metrics.frame_quality import consecutive_runs
from sali.metrics.operating_point import OperatingPoint
from sali.metrics.vps import match_size
from sali.report import plots
from sali.report.figures import FOLDER
from sali.report.folder import Key, Rows, RunFolder, clip_score, films_folder, frame_metric
from sali.report.options import ReportOptions
from sali.report.overlay import PREDICTION_RGB, TRUTH_RGB, draw_overlay, jpeg
from sali.report.style import INK, PAD_INCHES, TITLE, WIDTH, legend_below, new_figure, save, wrapped
from sali.run.io import write_json
from sali.run.workers import workers

log = logging.getLogger(__name__)
_CELL_INCHES, _CELL_PIXELS = 2.3, 460
_TITLE_POINTS, _TITLE_LINE_INCHES, _TITLE_CHARACTERS = 8.0, 0.145, 32
_COLUMNS = 3
_SHEET_COLUMNS, _SHEET_WIDTH, _SHEET_QUALITY = 4, 320, 90
_TRUTH_GREY = 90
_CLIPS_PER_WORKER, _FILMS_PER_WORKER = 16, 4
"""Fewer are done sooner than a process has started."""


class Picture(NamedTuple):
    """A frame, RGB uint8 [H, W, 3], with its map, uint8 [H, W], and its true mask, bool [H, W]."""

    frame: ByteArray
    prediction: ByteArray
    mask: Mask
    title: str = ""

    def draw(self, scale: float, threshold: float = 0.5) -> ByteArray:
        """Return the frame with truth and prediction drawn over it, RGB uint8 [h, w, 3].

        It is resized first, so that contours stay visible.
        """
        height, width = (max(1, round(side * scale)) for side in self.mask.shape)
        smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        frame, probability, mask = (
            cv2.resize(image, (width, height), interpolation=smooth)
            for image in (self.frame, self.prediction / np.float32(255), self.mask * np.float32(1))
        )
        return draw_overlay(frame, probability, mask >= 0.5, OperatingPoint(threshold))


def read_picture(maps: ClipMaps, index: int) -> Picture:
    """Read a frame of a clip; its mask in grey stands for a frame that cannot be read."""
    mask = read_truth(maps.truth, index)
    frame = np.repeat(np.where(mask, _TRUTH_GREY, 0).astype(np.uint8)[..., None], 3, axis=2)
    try:
        if maps.truth.frames:
            found, _ = read_frame(maps.truth.frames[index])
            frame = np.asarray(cv2.resize(found, mask.shape[::-1]), np.uint8)
    except FrameError as error:
        log.warning("%s; a figure shows its mask instead", error)
    return Picture(frame, read_map(maps, index, mask), mask)


def read_map(maps: ClipMaps, index: int, mask: Mask) -> ByteArray:
    """Return a map in the size of its mask, uint8 [H, W]; empty where it is missing."""
    path = maps.map_path(index)
    if not path.is_file():
        return np.zeros(mask.shape, np.uint8)
    return match_size(read_grey(path), mask.shape)


def save_frame_figures(run: RunFolder, done: Evaluation, options: ReportOptions) -> None:
    """Write `dice_over_time/<subset>/<clip>` and `worst_frames_<subset>` of each method."""
    threshold = done.settings.clinical.threshold
    for method, every in run.frames.items():
        by_clip = {key: own for key, own in every.items() if frame_metric(own[0]) != "dice_max"}
        maps = {(m.truth.subset, m.truth.name): m for m in done.maps if m.method == method}
        folder = run.home(method) / FOLDER
        tasks = [
            (folder / "dice_over_time" / subset / clip, f"{subset}/{clip}: {method}", rows)
            for (subset, clip), rows in by_clip.items()
            if any(row[frame_metric(row)] for row in rows)
        ]
        with workers(done.settings.num_workers, len(tasks) // _CLIPS_PER_WORKER) as pool:
            pool.run(_draw_over_time, tasks, [len(rows) for _, _, rows in tasks], "drawing")
        for subset, found in _lowest(by_clip, options.worst_frames).items():
            items = [_worst(maps[subset, row["clip"]], row) for row in found]
            title = f"{subset}: frames of the lowest {frame_metric(found[0])}, {method}"
            figure = worst_frames(items, threshold=threshold, title=title)
            save(figure, folder / f"worst_frames_{subset}")


def _draw_over_time(stem: Path, title: str, rows: Rows) -> None:
    metric = frame_metric(rows[0])
    dice = np.asarray([float(row[metric] or "nan") for row in rows])
    bad_runs = consecutive_runs([row.get("low_quality") == "1" for row in rows], 1)
    has_polyp = np.asarray([row["polyp_pixels"] != "0" for row in rows])
    save(plots.dice_over_time(title, dice, bad_runs, has_polyp, metric), stem)


def _lowest(by_clip: dict[Key, Rows], number: int) -> dict[str, Rows]:
    """Rows of the lowest Dice by subset; of the same, mostly 0, the clips take turns."""
    ranked: dict[str, list[tuple[float, int, dict[str, str]]]] = {}
    for (subset, _), rows in by_clip.items():
        turns: Counter[float] = Counter()
        for row in rows:
            if text := row[frame_metric(row)]:
                turns[float(text)] += 1
                ranked.setdefault(subset, []).append((float(text), turns[float(text)], row))
    return {
        subset: [row for _, _, row in heapq.nsmallest(number, own, key=itemgetter(0, 1))]
        for subset, own in ranked.items()
        if number
    }


def _worst(maps: ClipMaps, row: dict[str, str]) -> Picture:
    metric = frame_metric(row)
    picture = read_picture(maps, int(row["index"]))
    peak = f"peak {picture.prediction.max() / 255:.2f}" if row["map"] == "there" else "map missing"
    title = f"{row['clip']} {row['frame']}\n{metric} {float(row[metric]):.3f}, {peak}"
    return picture._replace(title=title)


def worst_frames(items: Sequence[Picture], threshold: float, title: str = "") -> Figure:
    """Return a contact sheet of frames, of any sizes, with truth and prediction drawn over them."""
    pictures = [item.draw(_CELL_PIXELS / max(item.mask.shape), threshold) for item in items]
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


def write_sheet(maps: Sequence[ClipMaps], path: Path, number: int) -> None:
    """Write a JPEG of at most `number` frames at even distances over all clips of a subset."""
    frames = [(one, index) for one in maps for index in range(len(one.truth))]
    every = max(1, len(frames) // number)
    shown = [read_picture(*frame) for frame in frames[every // 2 :: every][:number]]
    pictures = [Image.fromarray(one.draw(_SHEET_WIDTH / one.mask.shape[1])) for one in shown]
    height = max(picture.height for picture in pictures)
    num_rows = -(-len(pictures) // _SHEET_COLUMNS)
    sheet = Image.new("RGB", (_SHEET_COLUMNS * _SHEET_WIDTH, num_rows * height))
    for place, picture in enumerate(pictures):
        row, column = divmod(place, _SHEET_COLUMNS)
        sheet.paste(picture, (column * _SHEET_WIDTH, row * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=_SHEET_QUALITY)


def write_gif(
    maps: ClipMaps, path: Path, max_frames: int, frames_per_second: float, width: int
) -> None:
    """Write the beginning of a clip as a GIF."""
    shown = [read_picture(maps, index) for index in range(min(max_frames, len(maps.truth)))]
    first, *rest = (Image.fromarray(one.draw(width / one.mask.shape[1])) for one in shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    milliseconds = round(1000 / frames_per_second)
    first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0)


FilmFrame = tuple[ByteArray | None, BoolArray | None, Mapping[str, BoolArray]]
"""Frame, RGB uint8 [h, w, 3] of any size, None where it cannot be read; true mask, bool [H, W],
None where nobody annotated the frame; predicted masks, bool [H, W], by method."""


def save_films(run: RunFolder, done: Evaluation, options: ReportOptions) -> None:
    """Write films of the clips that `options.clips` chooses, by their mean score over methods."""
    shutil.rmtree(films_folder(run.path), ignore_errors=True)
    every: dict[Key, list[ClipMaps]] = {}
    for one in done.maps:
        every.setdefault((one.truth.subset, one.truth.name), []).append(one)
    scores: dict[str, dict[str, list[float]]] = {}
    for by_clip in run.frames.values():
        for (subset, clip), rows in by_clip.items():
            score = clip_score(rows, frame_metric(rows[0]))
            scores.setdefault(subset, {}).setdefault(clip, []).append(score)
    level, film = done.settings.clinical.threshold, dict(options.film)
    tasks = [
        (every[subset, clip], level, film, films_folder(run.path) / subset / f"{clip}.json")
        for subset, own in scores.items()
        for clip in choose({name: sum(v) / len(v) for name, v in own.items()}, **options.clips)
    ]
    sizes = [min(len(maps[0].truth), options.film["max_frames"]) for maps, *_ in tasks]
    with workers(done.settings.num_workers, len(tasks) // _FILMS_PER_WORKER) as pool:
        lost = sum(pool.run(_make, tasks, sizes, "pictures"))
    if lost:
        log.warning("%d frames could not be read; the report shows grey instead", lost)


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
