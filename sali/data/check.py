"""Is a copy of SUN-SEG complete, readable, and without frames in two subsets?

python -m sali.data.check root=/data/SUN-SEG
"""

import logging
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from sali.cli import command
from sali.config import check_config
from sali.data.clips import SUBSETS
from sali.data.inspection import (
    POLYP_FREE,
    clip_folders,
    compare_counts,
    count,
    duplicates,
    inspect_clip,
    leaked_cases,
    polyp_free_folders,
)
from sali.errors import ConfigError, DataError
from sali.run.io import write_json
from sali.run.workers import workers

log = logging.getLogger(__name__)

Counts = Mapping[str, Mapping[str, int]]


def check(
    root: Path, counts: Counts | None, polyp_free: Path | None, num_workers: int | None
) -> dict[str, Any]:
    """Inspect all clips.

    Args:
        root: folder in the SUN-SEG layout.
        counts: subset -> {"clips", "frames"} as published; None compares nothing and takes the
            subsets that are there.
        polyp_free: folder of clip folders of frames without a polyp.
        num_workers: processes; None for one per core.

    Returns:
        {"root", "subsets": {name: {"clips", "frames", "published", "problems": {kind: number}}},
        "problems": [{"kind", "subset", "message"}]}.

    Raises:
        DataError: no clips at all.
        ConfigError: counts of a subset that does not exist.
    """
    unknown = sorted(set(counts or ()) - {*SUBSETS, POLYP_FREE})
    if unknown:
        raise ConfigError(f"counts: unknown subset {unknown[0]!r}; wanted {', '.join(SUBSETS)}")
    if counts is not None and polyp_free is None:
        counts = {name: wanted for name, wanted in counts.items() if name != POLYP_FREE}
    folders = clip_folders(root, SUBSETS)
    if not folders:
        raise DataError(
            f"no clips in {root}; wanted the SUN-SEG layout, e.g. {SUBSETS['train']}/Frame/<clip>/"
        )
    if polyp_free is not None:
        folders += polyp_free_folders(polyp_free)
    with workers(num_workers, len(folders)) as pool:
        num_files = [
            sum(1 for _ in f.frames.iterdir()) if f.frames.is_dir() else 0 for f in folders
        ]
        reports = pool.run(inspect_clip, folders, num_files, "reading")
    problems = [problem for report in reports for problem in report.problems]
    problems += leaked_cases(reports) + duplicates(reports) + compare_counts(reports, counts or {})
    names = [*SUBSETS, POLYP_FREE]
    shown = [n for n in names if n in (counts or ()) or any(r.subset == n for r in reports)]
    return {
        "root": str(root),
        "subsets": {
            name: {
                **count(reports, name),
                "published": dict(counts[name]) if counts and name in counts else None,
                "problems": dict(Counter(p.kind for p in problems if p.subset == name)),
            }
            for name in shown
        },
        "problems": [asdict(problem) for problem in problems],
    }


def show(found: Mapping[str, Any], most: int) -> None:
    """The table of subsets, and the first problems."""
    console = Console()
    table = Table(title=found["root"])
    for column in ("subset", "clips", "published", "frames", "published", "problems"):
        table.add_column(column, justify="left" if column in ("subset", "problems") else "right")
    for name, row in found["subsets"].items():
        published = row["published"] or {}
        kinds = ", ".join(f"{number} {kind}" for kind, number in row["problems"].items())
        numbers = [
            str(value) for k in ("clips", "frames") for value in (row[k], published.get(k, "-"))
        ]
        table.add_row(name, *numbers, kinds or "none")
    console.print(table)
    for problem in found["problems"][:most]:
        console.print(f"{problem['kind']}: {problem['message']}", markup=False, soft_wrap=True)
    if len(found["problems"]) > most:
        console.print(f"... and {len(found['problems']) - most} more, see check.json")


@command("check")
def main(cfg: DictConfig) -> None:
    """Hydra's shell round ``check``; exit code 1 if there is any problem."""
    check_config(cfg, "check")
    counts: Any = OmegaConf.to_container(cfg.counts) if cfg.counts is not None else None
    polyp_free = Path(cfg.polyp_free) if cfg.polyp_free else None
    found = check(Path(cfg.root), counts, polyp_free, cfg.num_workers)
    report = Path(cfg.output) / "check.json"
    write_json(report, found)
    show(found, cfg.show)
    log.info("report: %s", report)
    sys.exit(1 if found["problems"] else 0)


if __name__ == "__main__":
    main()
