"""The whole of an evaluation: check, score, reduce, write."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sali.data.index import Clip
from sali.errors import ConfigError, DataError
from sali.evaluation.attributes import read_attributes
from sali.evaluation.clip_result import ClipResult
from sali.evaluation.inputs import (
    ClipCheck,
    ClipMaps,
    IntegrityError,
    check_clip,
    extra_entries,
    find_methods,
    index_truth,
    judge,
    maps_of,
    problem_lines,
)
from sali.evaluation.results import MethodResults
from sali.evaluation.scoring import ScoreTask, score_clip
from sali.evaluation.settings import Settings
from sali.evaluation.writing import write_joint, write_method
from sali.run.workers import Workers, workers

log = logging.getLogger(__name__)
PARTIAL = ".partial"
"""Folder in the output that keeps finished clips until all are."""
_FRAMES_PER_WORKER = 400
"""Fewer are scored sooner than another process has started."""


class Evaluation(NamedTuple):
    """A finished evaluation, for those who show it.

    Attributes:
        metrics: Content of metrics.json.
        maps: Every clip with its maps, of all methods, as they were scored.
        settings: Choices of the evaluation.
        output: Folder of the results.
    """

    metrics: dict[str, Any]
    maps: list[ClipMaps]
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

    Returns:
        The results, and what tables, figures and pages are made of.

    Raises:
        UserError: Anything that does not fit.
    """
    settings = settings or Settings()
    gt, pred, output = Path(gt), Path(pred), Path(output)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output {output} is a file; wanted a folder")
    clips = index_truth(gt, settings)
    trees = find_methods(pred, clips, settings.name)
    done = evaluate_clips(clips, trees, output, settings)
    _write_provenance(output, {"gt": gt, "pred": pred}, settings)
    return done


def evaluate_clips(
    clips: Sequence[Clip],
    trees: dict[str, Path],
    output: Path,
    settings: Settings,
    facts: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Score maps of known clips and write the results, all but `run.json`.

    Args:
        clips: Clips with their masks.
        trees: Folder of the maps of every method by its name.
        output: Folder for the results.
        settings: Choices.
        facts: What the caller adds to metrics.json.

    Returns:
        The results, and what tables, figures and pages are made of.

    Raises:
        UserError: Anything that does not fit.
    """
    attributes = read_attributes(settings.attributes) if settings.attributes else None
    if settings.with_vps and settings.short_clips == "error":
        _refuse_short(clips)
    if settings.reference is not None and settings.reference not in trees:
        raise ConfigError(f"reference {settings.reference!r} is not one of {', '.join(trees)}")
    try:
        with workers(settings.num_workers, _useful_workers(clips, trees, settings)) as pool:
            maps = _check(pool, trees, clips, settings, output)
            methods = _score(pool, maps, settings, output / PARTIAL)
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
    return Evaluation(result, maps, settings, output)


def _useful_workers(clips: Sequence[Clip], trees: Mapping[str, Path], settings: Settings) -> int:
    """Return the number of processes that are not idle, or slower to start than to do the work."""
    number = len(clips) * len(trees)
    if settings.num_workers is None:
        num_frames = sum(len(clip) for clip in clips) * len(trees)
        number = min(number, -(-num_frames // _FRAMES_PER_WORKER))
    return number


def _refuse_short(clips: Sequence[Clip]) -> None:
    short = [clip for clip in clips if not clip.is_polyp_free and len(clip) < 3]
    if short:
        shown = ", ".join(f"{c.subset}/{c.name} ({len(c)})" for c in short[:3])
        raise DataError(
            f"{len(short)} clips have fewer than 3 frames: {shown}; VPS drops the first and the "
            "last frame of each clip, so nothing of them is scored; short_clips=skip leaves them "
            "out, protocol=clinical scores all frames"
        )


class _CheckTask(NamedTuple):
    maps: ClipMaps
    with_clinical: bool
    with_masks: bool


def _check_one(task: _CheckTask) -> ClipCheck:
    return check_clip(*task)


def _check(
    pool: Workers,
    trees: dict[str, Path],
    clips: Sequence[Clip],
    settings: Settings,
    output: Path,
) -> list[ClipMaps]:
    """Look at all files; returns the clips of all methods with what is there filled in."""
    with_clinical = settings.with_clinical
    tasks = [
        _CheckTask(maps, with_clinical, number == 0)
        for number, (name, tree) in enumerate(trees.items())
        for maps in maps_of(tree, name, clips)
    ]
    sizes = [len(task.maps.truth) for task in tasks]
    checks = pool.run(_check_one, tasks, sizes, "checking")
    lines: list[str] = []
    errors: list[IntegrityError] = []
    for name, tree in trees.items():
        own = [check for check in checks if check.maps.method == name]
        lines += problem_lines(name, [p for check in own for p in check.problems])
        try:
            judge(name, own, extra_entries(tree, clips), settings.missing)
        except IntegrityError as error:
            lines += [line for line in problem_lines(name, error.problems) if line not in lines]
            errors.append(error)
    report = output / "integrity.txt"
    report.unlink(missing_ok=True)
    if lines:
        output.mkdir(parents=True, exist_ok=True)
        report.write_text("\n".join(lines) + "\n")
    if errors:
        raise DataError(f"{'; '.join(str(error) for error in errors)}; all listed in {report}")
    return [check.maps for check in checks]


def _score(
    pool: Workers, maps: Sequence[ClipMaps], settings: Settings, store: Path
) -> list[MethodResults]:
    tasks = [ScoreTask(one, settings, store / one.method / one.truth.subset) for one in maps]
    sizes = [len(one.truth) for one in maps]
    pool.run(score_clip, tasks, sizes, "scoring")
    results: dict[str, list[ClipResult]] = {}
    for task in tasks:
        truth = task.maps.truth
        result = ClipResult.load(task.result_path, truth.subset, truth.name)
        results.setdefault(task.maps.method, []).append(result)
    return [MethodResults(name, tuple(clips), settings) for name, clips in results.items()]


def _tell(method: MethodResults) -> None:
    """Say what was scored and what was not."""
    settings = method.settings
    for subset in method.subsets:
        clips = method.of(subset)
        counts = method.counts(clips)
        shown = {
            name: value
            for name, value in method.scores(clips).items()
            if name in ("dice_max", "dice_mean", f"dice_at_{settings.clinical.threshold:g}")
            and value is not None
        }
        log.info(
            "%s, %s: %d clips, %d frames: %s",
            method.name,
            subset,
            counts["clips"],
            counts["frames"],
            ", ".join(f"{name} {value:.4f}" for name, value in shown.items()),
        )
        for note in method.notes(subset):
            log.warning("%s, %s: %s", method.name, subset, note)


def _write_provenance(output: Path, folders: dict[str, Path], settings: Settings) -> None:
    # Imported late: worker processes import this file, and PyTorch would cost each seconds.
    from sali.run.io import write_json
    from sali.run.record import provenance

    paths = {name: str(path.resolve()) for name, path in folders.items()}
    choices = {
        name: value if isinstance(value, str | int | tuple | None) else str(value)
        for name, value in vars(settings).items()
    }
    write_json(output / "run.json", provenance(**paths, settings=choices, packages=_packages()))


def _packages() -> dict[str, str]:
    import cv2

    return {"opencv": cv2.__version__}
