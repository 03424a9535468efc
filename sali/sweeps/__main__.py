"""Tables, figures and page of a finished sweep: `python -m sali.sweeps outputs/sweeps/<name>`."""

import argparse
import logging
import sys
from pathlib import Path

from sali.errors import UserError
from sali.report import write_sweep
from sali.sweeps.callback import failures


def main() -> None:
    """Write the report of a sweep, and list the jobs that failed."""
    parser = argparse.ArgumentParser(prog="python -m sali.sweeps", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the sweep, with one folder per job")
    folder = parser.parse_args().folder
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log = logging.getLogger(__name__)
    try:
        settings = write_sweep(folder)
    except UserError as error:
        sys.exit(f"error: {error}")
    for failure in failures(folder):
        log.warning("not in the tables: %s: %s; see %s", *failure)
    if not settings:
        sys.exit(f"error: no job in {folder} has finished")
    log.info("%d settings: %s", len(settings), folder / "sweep.md")


if __name__ == "__main__":
    main()
