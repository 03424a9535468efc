"""Differences between two runs: settings, versions, data and scores.

python scripts/compare_runs.py outputs/seen_easy/A outputs/seen_easy/B
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from sali.errors import DataError, UserError
from sali.run.io import read_json

ABSENT = "-"
# These differ between any two runs and tell nothing.
IGNORED = ("run.started", "config.paths.output_dir")


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted path; a list is a leaf."""
    if not isinstance(node, Mapping):
        return {path: node}
    found = {}
    for name, value in node.items():
        found |= flat(value, f"{path}.{name}" if path else str(name))
    return found


def facts(run: Path) -> dict[str, dict[str, Any]]:
    """Return everything that a run's folder says about itself, by part.

    Raises:
        DataError: The folder is not that of a run.
    """
    if not (run / "run.json").is_file():
        raise DataError(f"{run} holds no run.json; wanted the folder of a run of sali.train")

    config = run / ".hydra" / "config.yaml"
    settings = OmegaConf.to_container(OmegaConf.load(config)) if config.is_file() else {}
    record, metrics = read_json(run / "run.json"), read_json(run / "metrics.json")
    parts = {
        "status": flat(read_json(run / "status.json"), "status"),
        "config": flat(settings, "config"),
        "run": flat(record, "run"),
        "score": flat(metrics.get("subsets", {}), "score")
        | flat(metrics.get("clinical", {}).get("subsets", {}), "score.clinical")
        | flat(metrics.get("best", {}), "score.best"),
    }
    return {
        part: {name: value for name, value in found.items() if name not in IGNORED and name != part}
        for part, found in parts.items()
    }


def differences(a: Path, b: Path) -> list[tuple[str, Any, Any]]:
    """Return (name, value in a, value in b) where they differ; a missing value is "-"."""
    rows = []
    left, right = facts(a), facts(b)
    for part in left:
        for name in {**left[part], **right[part]}:
            values = left[part].get(name, ABSENT), right[part].get(name, ABSENT)
            if values[0] != values[1]:
                rows.append((name, *values))
    return rows


def _change(one: Any, other: Any) -> str:
    numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in (one, other)]
    return f"{other - one:+.4g}" if all(numbers) else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("a", type=Path, help="folder of a run")
    parser.add_argument("b", type=Path, help="folder of another run")
    given = parser.parse_args(arguments)
    try:
        rows = differences(given.a, given.b)
    except UserError as error:
        sys.exit(f"error: {error}")
    console = Console()
    if not rows:
        console.print("no difference")
        return
    table = Table()
    for heading in ("", str(given.a), str(given.b), "change"):
        table.add_column(heading, overflow="fold")
    for name, one, other in rows:
        table.add_row(name, str(one), str(other), _change(one, other))
    console.print(table)


if __name__ == "__main__":
    main()
