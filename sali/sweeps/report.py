"""Tables and plots of a sweep: mean and spread over seeds, beside published results."""

import csv
from collections.abc import Sequence
from pathlib import Path

from sali.errors import DataError
from sali.evaluation.ground_truth import TEST_SUBSETS
from sali.evaluation.published import VARIANTS, other_data, published_rows
from sali.evaluation.tables import NONE, latex_lines, latex_text, markdown_lines
from sali.report import write_sweep_report
from sali.sweeps.collect import VALIDATION, Setting, Spread, finished_jobs, settings_of
from sali.sweeps.plot import plot_settings

SHOWN = ("dice_max", "dice_mean", "dice_at_0.5", "iou_mean", "s_measure", "weighted_f", "mae")
"""Figures of the Markdown and LaTeX tables; the CSV file has all."""
PLOTTED = ("dice_max", "dice_at_0.5")
EXPLAINED = (
    "Mean ± sample standard deviation (n - 1) over seeds; a single seed has no spread. "
    f"`{VALIDATION}` is the best held-out score; the other rows are test subsets."
)


def write_report(folder: Path) -> list[Setting]:
    """Write `sweep.csv`, `sweep.md`, `sweep.tex`, `figures/` and `report.html` of finished jobs.

    Args:
        folder: of the sweep, `outputs/sweeps/<name>`.

    Returns:
        What was written; nothing is, and nothing returned, if no job finished.

    Raises:
        DataError: if there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"there is no sweep at {folder}; wanted the folder that holds its jobs")
    jobs = finished_jobs(folder)
    settings = settings_of(jobs)
    if not jobs:
        write_sweep_report(folder)  # says what failed
        return []
    _write_csv(folder / "sweep.csv", settings)
    notes = other_data({k: v for job in jobs for k, v in job.num_clips.items()})
    pages = [f"# {folder.name}\n", f"{EXPLAINED}\n", _scores_table(settings)]
    pages += [_beside_published(settings, notes)]
    (folder / "sweep.md").write_text("\n".join(pages), encoding="utf-8")
    (folder / "sweep.tex").write_text(_latex(folder.name, settings), encoding="utf-8")
    for figure in PLOTTED:
        if any(figure in scores for s in settings for scores in s.scores.values()):
            stem = folder / "figures" / figure
            plot_settings(settings, figure, stem, published={} if notes else _published(figure))
    write_sweep_report(folder)
    return settings


def _rows(settings: Sequence[Setting]) -> list[tuple[str, Setting, dict[str, Spread]]]:
    """(subset, setting, its scores), subset by subset."""
    subsets = dict.fromkeys(subset for s in settings for subset in s.scores)
    return [(x, s, s.scores[x]) for x in subsets for s in settings if x in s.scores]


def _write_csv(path: Path, settings: Sequence[Setting]) -> None:
    """One line per setting, subset and figure."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "subset", "figure", "mean", "std", "num_seeds", "seeds"])
        for subset, setting, scores in _rows(settings):
            for figure, spread in scores.items():
                std = "" if spread.std is None else spread.std
                counted = [len(spread.values), " ".join(setting.seeds)]
                writer.writerow([setting.label, subset, figure, spread.mean, std, *counted])


def _columns(settings: Sequence[Setting]) -> list[str]:
    return [f for f in SHOWN if any(f in scores for _, _, scores in _rows(settings))]


def spread_text(spread: Spread | None, factor: float = 1, digits: int = 4, sign: str = "±") -> str:
    """`mean ± std`; the mean alone for one seed."""
    if spread is None:
        return NONE
    mean = f"{factor * spread.mean:.{digits}f}"
    return mean if spread.std is None else f"{mean} {sign} {factor * spread.std:.{digits}f}"


def _scores_table(settings: Sequence[Setting]) -> str:
    columns = _columns(settings)
    lines = [
        [subset, s.label, str(len(s.seeds)), *(spread_text(scores.get(c)) for c in columns)]
        for subset, s, scores in _rows(settings)
    ]
    dashes = ["---", "---", "---:", *["---:"] * len(columns)]
    return markdown_lines([["subset", "setting", "seeds", *columns], dashes, *lines])


def _latex(name: str, settings: Sequence[Setting]) -> str:
    columns = _columns(settings)
    rows = _rows(settings)
    lines = [
        [latex_text(subset), latex_text(s.label), str(len(s.seeds))]
        + [spread_text(scores.get(c), sign=r"$\pm$") for c in columns]
        for subset, s, scores in rows
    ]
    header = [latex_text(text) for text in ("subset", "setting", "seeds", *columns)]
    caption = latex_text(f"{name}. ") + EXPLAINED.replace("±", r"$\pm$").replace("`", "")
    return latex_lines(header, lines, [subset for subset, _, _ in rows], 3, caption)


def _beside_published(settings: Sequence[Setting], notes: Sequence[str]) -> str:
    """A table per variant of Dice, in percent; without published rows if the data is other data."""
    lines = ["# Beside published results\n"]
    if notes:
        lines.append("Published rows are left out, because this is other data than SUN-SEG:\n")
        return "\n".join([*lines, *(f"- {note}" for note in notes), ""])
    lines.append(
        "Dice on the subsets of SUN-SEG, in percent, one table per variant: values of different "
        "variants must not be compared. Ours are in bold.\n"
    )
    for variant in VARIANTS:
        table = [
            [r.method, r.venue, r.backbone, *(_percent(r.percent[x]) for x in TEST_SUBSETS)]
            for r in published_rows()
            if r.dice_variant == variant
        ]
        for s in settings:
            spreads = [s.scores.get(x, {}).get(variant) for x in TEST_SUBSETS]
            ours = [f"**{spread_text(v, 100, 1)}**" if v else NONE for v in spreads]
            table.append([f"**{s.label}**", NONE, NONE, *ours])
        header = ["method", "venue", "backbone", *TEST_SUBSETS]
        dashes = ["---"] * 3 + ["---:"] * len(TEST_SUBSETS)
        lines += [f"## {variant}\n", markdown_lines([header, dashes, *table])]
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def _published(figure: str) -> dict[str, tuple[str, float]]:
    """The published SALI by subset: (label, share); the last row of its own paper."""
    own = [r for r in published_rows() if r.method == "SALI" and r.dice_variant == figure]
    return {
        subset: (f"{row.method} {row.backbone}, {row.venue}", percent / 100)
        for row in own[-1:]
        for subset, percent in row.percent.items()
        if percent is not None
    }
