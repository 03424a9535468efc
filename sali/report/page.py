"""Writes tables, figures and the page of a folder."""

import base64
import hashlib
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sali.evaluation.run import Evaluation
from sali.report import scores
from sali.report.clips import read_clips
from sali.report.figures import NOT_DRAWN, page_figures, save_figures, training_figures
from sali.report.folder import RunFolder
from sali.report.frames import save_films, save_frame_figures
from sali.report.options import PAGE, ReportOptions
from sali.report.overlay import FOOTER
from sali.report.style import to_html
from sali.report.sweep import (
    Setting,
    Sweep,
    is_sweep,
    read_sweep,
    sweep_figures,
    sweep_tables,
    write_files,
)
from sali.report.table import templates
from sali.run.io import write_text
from sali.run.processes import is_first

log = logging.getLogger(__name__)


def write_report(folder: Path, options: ReportOptions) -> Path:
    """Write `report.html` of a run, an evaluation or a sweep from the files in its folder.

    Of a sweep its tables and figures are written too.

    Raises:
        DataError: Nothing of these lies there, or a file cannot be read.
    """
    folder = Path(folder)
    if is_sweep(folder):
        text = sweep_page(folder, _sweep_files(folder))
    else:
        text = run_page(RunFolder(folder), options)
    write_text(folder / PAGE, text)
    return folder / PAGE


@contextmanager
def reported(folder: Path, options: ReportOptions) -> Iterator[None]:
    """Write the page when the work ends, however it ends; the first process does.

    The page is no part of the work: what goes wrong with it is a warning.
    """
    try:
        yield
    finally:
        if options.enabled and is_first():
            with _only_warned(folder):
                log.info("report: %s", write_report(folder, options))


def report_evaluation(done: Evaluation, options: ReportOptions, with_page: bool = True) -> None:
    """Write tables, figures, films and the page of an evaluation.

    What goes wrong with films and page is a warning. Without the page, `reported` writes it when
    a whole run ends.
    """
    run = RunFolder(done.output)
    scores.write_tables(run)
    if options.figures:
        if note := NOT_DRAWN.get(done.settings.protocol):
            log.info("figures %s; protocol=both draws them", note)
        save_figures(run)
        save_frame_figures(run, done, options)
        homes = dict.fromkeys([*map(run.home, run.methods), run.path])
        folders = ", ".join(str(home / "figures") for home in homes)
        log.info("figures, as .png and .pdf: %s", folders)
    if options.enabled:
        with _only_warned(done.output):
            save_films(run, done, options)
            if with_page:
                write_text(done.output / PAGE, run_page(run, options))
                log.info("report: %s", done.output / PAGE)


def write_sweep(folder: Path) -> list[Setting]:
    """Write tables, figures and page of a sweep; what goes wrong with the page is a warning.

    Returns:
        The settings of finished jobs; without any, only the page is written, which says why.
    """
    sweep = _sweep_files(folder)
    with _only_warned(folder):
        write_text(folder / PAGE, sweep_page(folder, sweep))
    return sweep.settings


def _sweep_files(folder: Path) -> Sweep:
    sweep = read_sweep(folder)
    if sweep.settings:
        write_files(folder, sweep)
    return sweep


@contextmanager
def _only_warned(folder: Path) -> Iterator[None]:
    """Turn an error into a warning that says how to try again."""
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
    """Return the page of a run or of an evaluation."""
    state, problem = run.state
    notes = scores.data_notes(run)
    if not run.metrics:
        notes.append("There is no metrics.json, so nothing of a test is shown.")
    training, training_notes = training_figures(run, options.max_points)
    notes += training_notes
    if run.status and not training:
        notes.append("There are no training curves: the folder holds no csv/version_*/metrics.csv.")
    if run.metrics and not any(run.curves.values()):
        notes.append("There are no curves of the test: the folder holds no curves.npz.")
    differences = scores.difference_table(run.metrics)
    return render(
        kind="Training and test" if run.status else "Evaluation",
        title=run.title,
        facts=run.facts,
        state=state,
        problem=problem,
        scores=scores.score_tables(run) + ([differences] if differences else []),
        published=scores.run_beside_published(run),
        charts={
            "Training": to_html(training, "training"),
            "Test": to_html(page_figures(run), "test"),
        },
        clips=read_clips(run, options),
        config=run.hydra("config.yaml"),
        notes=notes,
    )


def sweep_page(folder: Path, sweep: Sweep) -> str:
    """Return the page of a sweep."""
    table, *published = sweep_tables(sweep, "Scores by setting")
    return render(
        kind="Sweep",
        title=f"Sweep {folder.resolve().name}",
        facts=sweep.facts,
        state="incomplete" if sweep.failed else "finished",
        problem=f"{len(sweep.failed)} of the jobs did not finish" if sweep.failed else "",
        failed=sweep.failed,
        scores=[table] if table else [],
        published=published,
        charts={"Settings": to_html(list(sweep_figures(sweep).values()), "sweep")},
        jobs=sweep.jobs,
    )


def render(**content: Any) -> str:
    """Return the filled template; everything but this package's own markup is escaped.

    Parts of the page without a value are left out.
    """

    def text(name: str) -> Markup:
        return Markup((files("sali.report") / "templates" / name).read_text(encoding="utf-8"))

    def known_by(block: str) -> str:  # of the Content-Security-Policy
        return "sha256-" + base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()

    style, script = text("page.css"), text("page.js") + text("player.js")
    published, published_notes = content.pop("published")
    content["charts"] = [chart for chart in content["charts"].items() if chart[1]]
    return (
        templates()
        .get_template("page.html")
        .render(
            **{**dict.fromkeys(("failed", "clips", "config", "jobs", "notes"), ()), **content},
            published=published,
            published_notes=published_notes,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            disclaimer=FOOTER,
            style=style,
            script=script,
            style_hash=known_by(style),
            script_hash=known_by(script),
        )
    )
