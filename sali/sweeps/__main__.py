"""Tables and plots of a sweep that is there: ``python -m sali.sweeps outputs/sweeps/<name>``."""

import argparse
import logging
import sys
from pathlib import Path

from sali.errors import UserError
from sali.sweeps.callback import failures
from sali.sweeps.report import write_report


def main() -> None:
    """Write the report of a folder, and list the jobs that failed."""
    parser = argparse.ArgumentParser(prog="python -m sali.sweeps", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the sweep; it holds one folder per job")
    folder = parser.parse_args().folder
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log = logging.getLogger(__name__)
    try:
        settings = write_report(folder)
    except UserError as error:
        sys.exit(f"error: {error}")
    for failure in failures(folder):
        log.warning("not in the tables: %s: %s; see %s", *failure)
    if not settings:
        sys.exit(f"error: no job in {folder} has finished")
    log.info("%d settings: %s", len(settings), folder / "sweep.md")


if __name__ == "__main__":
    main()
