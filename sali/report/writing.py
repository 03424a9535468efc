"""Writes the page of a folder."""

import base64
import hashlib
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sali.evaluation.ground_truth import index_truth
from sali.evaluation.run import Evaluation
from sali.evaluation.settings import Settings
from sali.evaluation.trees import find_methods, maps_of
from sali.report import curves, header, scores
from sali.report.clips import read_clips
from sali.report.evaluated import keep_films
from sali.report.folder import PAGE, RunFolder, is_sweep
from sali.report.options import ReportOptions
from sali.report.style import FOOTER
from sali.report.sweep import read_sweep
from sali.run.io import atomic_write
from sali.run.processes import is_first

log = logging.getLogger(__name__)


def write_report(folder: Path, options: ReportOptions) -> Path:
    """Make `report.html` of a run, an evaluation or a sweep from what lies in its folder.

    Raises:
        DataError: nothing of these lies there, or a file that cannot be read.
    """
    folder = Path(folder)
    if is_sweep(folder):
        return _write(folder, sweep_page(folder))
    return _write(folder, run_page(RunFolder(folder), options))


def _write(folder: Path, text: str) -> Path:
    """Through a temporary file, so that nobody reads half of a page."""
    path = folder / PAGE
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


@contextmanager
def reported(folder: Path, options: ReportOptions) -> Iterator[None]:
    """Write the page when the work ends, however it ends; the first process does.

    The page is no part of the work: what goes wrong with it is a warning.
    """
    try:
        yield
    finally:
        if options.enabled and is_first():
            with only_warned(folder):
                log.info("report: %s", write_report(folder, options))


def report_evaluation(
    gt: Path, pred: Path, output: Path, settings: Settings, options: ReportOptions
) -> None:
    """Films and page of an evaluation that has ended; what goes wrong is a warning."""
    if options.enabled:
        with only_warned(output):
            clips = index_truth(gt, settings)
            trees = find_methods(pred, clips, settings.name)
            maps = [one for name, tree in trees.items() for one in maps_of(tree, name, clips)]
            keep_films(Evaluation({}, maps, settings, output), options)
            log.info("report: %s", write_report(output, options))


def report_clips(done: Evaluation, options: ReportOptions) -> None:
    """Keep films of an evaluation for a page that is written later; a failure is a warning."""
    if options.enabled:
        with only_warned(done.output):
            keep_films(done, options)


def write_sweep_report(folder: Path) -> None:
    """The page of a sweep that has ended; what goes wrong is a warning."""
    with only_warned(folder):
        _write(folder, sweep_page(folder))


@contextmanager
def only_warned(folder: Path) -> Iterator[None]:
    """An error is a warning that says how to try again."""
    try:
        yield
    except Exception as error:
        log.warning(
            "%s of %s could not be written, nothing else is affected: %s: %s; to try again: "
            "python -m sali.report %s",
            PAGE,
            folder,
            type(error).__name__,
            error,
            shlex.quote(f"run={folder}"),
            exc_info=error,
        )


def run_page(run: RunFolder, options: ReportOptions) -> str:
    """The page of a run or of an evaluation."""
    state, problem = header.state(run)
    notes = scores.counted_notes(run)
    if not run.metrics:
        notes.append("There is no metrics.json, so nothing of a test is shown.")
    training, told = curves.training_charts(run, options.max_points)
    notes += told
    if run.status and not training:
        notes.append("There are no training curves: the folder holds no csv/version_*/metrics.csv.")
    if run.metrics and not any(run.curves(method) for method in run.methods):
        notes.append("There are no curves of the test: the folder holds no curves.npz.")
    differences = run.metrics.get("differences", [])
    published, published_notes = scores.run_beside_published(run)
    found = curves.difference_chart(differences)
    return render(
        "run.html",
        title=header.title(run),
        facts=header.facts(run),
        state=state,
        problem=problem,
        scores=scores.score_grids(run),
        differences=scores.difference_grid(differences),
        published=published,
        published_notes=published_notes,
        training=training,
        charts=[*([found] if found else []), *curves.test_charts(run)],
        clips=read_clips(run, options),
        config=run.config,
        notes=notes,
    )


def sweep_page(folder: Path) -> str:
    """The page of a sweep."""
    return render("sweep.html", title=f"Sweep {folder.resolve().name}", sweep=read_sweep(folder))


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("sali.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    environment = _templates()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def render(template: str, **content: Any) -> str:
    """Fill a template in; whatever is not markup of the templates is escaped."""
    style, script = _source("page.css"), _source("page.js") + _source("player.js")
    return (
        _templates()
        .get_template(template)
        .render(
            **content,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            disclaimer=FOOTER,
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            safe=Markup,
        )
    )


def _hash(text: str) -> str:
    """What a Content-Security-Policy knows an inline block by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
