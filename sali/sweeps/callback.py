"""The start and the end of a sweep."""

import logging
import math
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from sali.cli import quoted
from sali.errors import ConfigError
from sali.run.folder import claim
from sali.run.io import read_json, write_json
from sali.run.record import provenance
from sali.run.state import JOB, SWEEP
from sali.sweeps.job import OUTPUT

log = logging.getLogger(__name__)

# Keys in the name of a job even if the sweep has one value of them: the next may have more.
ALWAYS_NAMED = ("ablation", "seed")


class Sweep(Callback):
    """Hydra's hooks of a sweep, and of the start of a single run."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take the folder of a single run before Hydra writes into it."""
        own: Any = OmegaConf.to_container(config, resolve=False)
        try:
            claim(Path(config.hydra.run.dir), own)
        except ConfigError as error:  # Hydra would turn it into a warning
            sys.exit(f"error: {error}")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write `sweep.json`, and fix the folders of the jobs by overrides that all of them get.

        - One folder for all: its name has `name` in it, which a job's overrides may change.
        - The folder of a job is named by what is varied, not by what all jobs have.
        """
        folder = Path(os.path.abspath(config.hydra.sweep.dir))
        overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        same = [o.key_or_group for o in overrides if not o.is_sweep_override()]
        left_out = [f'"{key}"' for key in same if key not in ALWAYS_NAMED]
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = str(folder)
            config.hydra.overrides.hydra += [
                f"hydra.sweep.dir={quoted(str(folder))}",
                f"hydra.job.config.override_dirname.exclude_keys=[{','.join(left_out)}]",
            ]
        given = {"id": uuid.uuid4().hex, "num_jobs": num_jobs(config), **provenance()}
        write_json(folder / SWEEP, given)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the tables; exit with code 1 if a job failed, and say which."""
        from sali.report.page import write_sweep

        folder = Path(config.hydra.sweep.dir)
        try:
            failed = failures(folder)
            settings = write_sweep(folder)
        except Exception as error:  # Hydra would turn it into a warning
            log.exception("the sweep's tables could not be written")
            sys.exit(f"error: the tables of {folder} could not be written: {error}")
        if settings:
            log.info("%d settings: %s", len(settings), folder / "sweep.md")
        if failed:
            lines = [f"  {name}: {error}\n    {log_file}" for name, error, log_file in failed]
            sys.exit(
                f"error: {len(failed)} of the sweep's jobs failed; the same command runs them "
                "again, and only them:\n" + "\n".join(lines)
            )


def num_jobs(config: DictConfig) -> int | None:
    """Return the number of jobs; None where only Hydra's sweeper finds out."""
    sweeper = config.hydra.sweeper
    if "n_trials" in sweeper:
        return int(sweeper.n_trials)
    given = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    given += config.hydra.overrides.task
    choices = {}  # the command line's, where both have a key
    for override in OverridesParser.create().parse_overrides(given):
        if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
            return None
        swept = override.is_sweep_override()
        values = list(override.sweep_string_iterator()) if swept else [""]
        choices[override.get_key_element()] = len(values)
    return math.prod(choices.values())


def failures(folder: Path) -> list[tuple[str, str, Path]]:
    """Return name, error and output of the jobs that failed in the latest sweep of a folder."""
    latest = read_json(folder / SWEEP).get("id")
    jobs = [(path.parent, read_json(path)) for path in sorted(folder.glob(f"*/{JOB}"))]
    return [
        (job.name, record["error"], job / OUTPUT)
        for job, record in jobs
        if record["sweep"] == latest and record["error"] is not None
    ]
