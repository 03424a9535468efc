"""The whole of an evaluation: check, score, reduce, write."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from sali.data.clip_tables import Runs, read_attributes
from sali.data.index import Clip
from sali.data.listing import litter_counted
from sali.errors import ConfigError, DataError
from sali.evaluation.clip_result import ClipResult
from sali.evaluation.inputs import MANIFEST, ClipMaps, find_methods, index_truth, operating_point_of
from sali.evaluation.integrity import check_maps
from sali.evaluation.results import MethodResults
from sali.evaluation.scoring import score_clip
from sali.evaluation.settings import Settings
from sali.evaluation.writing import write_joint, write_method
from sali.run.io import read_json, require_writable, write_json
from sali.run.locks import locked
from sali.run.state import STATUS
from sali.run.workers import Workers, workers

log = logging.getLogger(__name__)
PARTIAL = ".partial"
"""Folder in the output that keeps finished clips until all are."""
LOCK = ".evaluate.lock"
WRITTEN = ("metrics.json", "clips.csv", "frames.csv", "curves.npz", "table.md", "report.html")
_FRAMES_PER_WORKER = 400
"""Fewer are scored sooner than another process has started."""


class Evaluation(NamedTuple):
    """A finished evaluation, for those who show it.

    Attributes:
        metrics: Content of metrics.json.
        maps: Every clip with its maps, of all methods, as they were scored.
        trees: Folder of the maps by method.
        settings: Choices of the evaluation.
        output: Folder of the results.
    """

    metrics: dict[str, Any]
    maps: list[ClipMaps]
    trees: dict[str, Path]
    settings: Settings
    output: Path


def evaluate(
    gt: Path, pred: Path, output: Path, settings: Settings | None = None
) -> dict[str, Any]:
    """Score maps on disk and write the numbers; see `run_evaluation`.

    Returns:
        Content of metrics.json; with several methods, `{"methods": {name: content}, ...}`.
    """
    return run_evaluation(gt, pred, output, settings).metrics


def run_evaluation(
    gt: Path, pred: Path, output: Path, settings: Settings | None = None
) -> Evaluation:
    """Score maps on disk and write the numbers.

    Everything is checked before anything is scored. An interrupted evaluation is resumed when it is
    called again with the same arguments. Scripts that call this need the usual
    `if __name__ == "__main__":`, unless `num_workers` is 1.

    Args:
        gt: SUN-SEG root, one of its subset folders, or a folder of clip folders with masks.
        pred: Maps of one method, or a folder of such folders, one per method.
        output: Folder for the results; see `sali.evaluation.writing`.
        settings: Choices; defaults if None.

    Raises:
        UserError: Anything that does not fit.
    """
    settings = settings or Settings()
    gt, pred, output = Path(gt), Path(pred), Path(output)
    require_writable(output)
    _refuse_foreign(output)
    with litter_counted():
        clips = index_truth(gt, settings)
        trees = find_methods(pred, clips, settings.name)
    masks = (next(filter(None, clip.masks), None) for clip in clips)  # one of each clip
    for folder in {pred, *(mask.parent.parent for mask in masks if mask is not None)}:
        if output.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"output {output} is inside {folder}, and its files would be taken for maps or "
                "masks next time; choose a folder outside of it"
            )
    with locked(output / LOCK, ["evaluation"]) as taken:
        if taken:
            raise ConfigError(
                f"another evaluation writes into {output}; wait for its end, or choose another "
                "output"
            )
        done = evaluate_clips(clips, trees, output, settings)
        _write_provenance(output, {"gt": gt, "pred": pred}, settings)
    return done


def _refuse_foreign(output: Path) -> None:
    """Refuse an output whose results no evaluation wrote."""
    if (output / STATUS).exists():
        raise ConfigError(
            f"output {output} is the folder of a training, whose scores would be replaced; choose "
            "another output"
        )
    there = [name for name in WRITTEN if (output / name).exists()]
    if there and not (output / PARTIAL).exists() and "sali" not in read_json(output / MANIFEST):
        raise ConfigError(
            f"{output / there[0]} is there and no evaluation wrote it, so it is not replaced; "
            "choose another output, or move it away"
        )


def evaluate_clips(
    clips: Sequence[Clip],
    trees: dict[str, Path],
    output: Path,
    settings: Settings,
    facts: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Score maps of known clips and write the results, all but `run.json`.

    `facts` is what the caller adds to metrics.json.
    """
    attributes = read_attributes(settings.attributes) if settings.attributes else None
    if attributes is not None:
        unknown = [clip.name for clip in clips if clip.name not in attributes]
        if unknown:
            raise DataError(
                f"the attribute file has no row for {len(unknown)} clips, e.g. {unknown[0]}; a "
                "clip without attributes needs a row too"
            )
    if settings.with_vps and settings.short_clips == "error":
        _refuse_short(clips)
    if settings.runs is not None:
        _check_runs(settings.runs, clips)
    if settings.reference is not None and settings.reference not in trees:
        raise ConfigError(f"reference {settings.reference!r} is not one of {', '.join(trees)}")
    useful = len(clips) * len(trees)
    if settings.num_workers is None:
        num_frames = sum(len(clip) for clip in clips) * len(trees)
        useful = min(useful, -(-num_frames // _FRAMES_PER_WORKER))
    try:
        with workers(settings.num_workers, useful) as pool:
            maps = check_maps(pool, trees, clips, settings, output / "integrity.txt")
            methods = _score(pool, maps, trees, settings, output / PARTIAL)
    except KeyboardInterrupt:
        log.warning("interrupted; the same command resumes after the clips that are finished")
        raise
    several = len(methods) > 1
    contents = {}
    for method in methods:
        _tell(method)
        folder = output / method.name if several else output
        store = output / PARTIAL / method.name
        contents[method.name] = write_method(method, folder, store, facts or {})
    result = write_joint(methods, contents, attributes, output)
    shutil.rmtree(output / PARTIAL)
    log.info("results: %s", output)
    return Evaluation(result, maps, trees, settings, output)


def _refuse_short(clips: Sequence[Clip]) -> None:
    short = [clip for clip in clips if not clip.is_polyp_free and len(clip) < 3]
    if short:
        shown = ", ".join(f"{c.subset}/{c.name} ({len(c)})" for c in short[:3])
        raise DataError(
            f"{len(short)} clips have fewer than 3 frames: {shown}; VPS drops the first and the "
            "last frame of each clip, so nothing of them is scored; short_clips=skip leaves them "
            "out, protocol=clinical scores all frames"
        )


def _check_runs(runs: Runs, clips: Sequence[Clip]) -> None:
    """Refuse runs of clips or frames that are not there."""
    by_name = {clip.name: set(clip.stems) for clip in clips}
    for name, own in runs.items():
        if name not in by_name:
            raise DataError(f"runs name clip {name}, which is not among those to score")
        for run in own:
            for frame in run[:2]:
                if frame not in by_name[name]:
                    raise DataError(f"runs name frame {frame} of clip {name}, which it lacks")


def _score(
    pool: Workers,
    maps: Sequence[ClipMaps],
    trees: Mapping[str, Path],
    settings: Settings,
    store: Path,
) -> list[MethodResults]:
    tasks = []
    for one in maps:
        point = operating_point_of(one, trees[one.method], settings)
        tasks.append((one, settings, point, store / one.method / one.truth.subset))
    results = pool.run(score_clip, tasks, [len(one.truth) for one in maps], "scoring")
    by_method: dict[str, list[ClipResult]] = {}
    for one, result in zip(maps, results, strict=True):
        by_method.setdefault(one.method, []).append(result)
    return [MethodResults(name, tuple(own), settings) for name, own in by_method.items()]


def _tell(method: MethodResults) -> None:
    """Say what was scored and what was not."""
    settings = method.settings
    for subset, clips in method.by_subset.items():
        scores = method.scores(clips)
        names = ("dice_mean", "dice_max", f"dice_at_{settings.clinical.threshold:g}")
        shown = [f"{n} {value:.4f}" for n in names if (value := scores.get(n)) is not None]
        frames = method.counts(clips)["frames"]
        log.info(
            "%s, %s: %d clips, %d frames: %s",
            *(method.name, subset, len(clips), frames, ", ".join(shown)),
        )
        for note in method.notes(clips):
            log.warning("%s, %s: %s", method.name, subset, note)


def _write_provenance(output: Path, folders: dict[str, Path], settings: Settings) -> None:
    # Imported late: worker processes import this file, and PyTorch would cost each seconds.
    from sali.run.record import provenance

    paths = {name: str(path.resolve()) for name, path in folders.items()}
    choices = {
        name: value if isinstance(value, str | int | tuple | None) else str(value)
        for name, value in vars(settings).items()
    }
    packages = {"opencv": cv2.__version__}
    write_json(output / MANIFEST, provenance(**paths, settings=choices, packages=packages))
