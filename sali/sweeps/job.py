"""One job of a sweep: a training in a fresh process, its result read back from its folder.

A fresh process, because Lightning starts the other ranks of a job by the command line of the
process that it runs in: in a sweep's own process that is the whole sweep.
"""

import hashlib
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sali.cli import quoted
from sali.errors import UserError
from sali.run.folder import difference
from sali.run.io import read_json, write_json
from sali.run.state import JOB, METRICS, STATUS, SWEEP, is_finished

log = logging.getLogger(__name__)

OUTPUT = "output.log"
NOT_ENDED = "it did not end"
MAX_NAME = 120  # characters of a folder's name; file systems take 255 bytes


class JobError(UserError):
    """A job that cannot run, or that failed."""


def is_sweep() -> bool:
    """Return whether Hydra runs this as one job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def job_name(dirname: str) -> str:
    """Return the folder name of a job, in characters that need no quotes anywhere."""
    name = re.sub(r"[^\w.-]+", "-", dirname).strip("-") or "default"
    if len(name) > MAX_NAME or name != dirname:  # others may be shortened to the same
        digest = hashlib.sha256(dirname.encode()).hexdigest()[:8]
        name = f"{name[: MAX_NAME - 9]}-{digest}"
    return name


OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def run_job(module: str, cfg: DictConfig) -> float | None:
    """Run one job as `python -m <module>`, unless it has finished before.

    Nothing is raised: the error is in `job.json`, and the end of the sweep lists all of them.

    Returns:
        The best held-out score; None if the job failed, which Optuna takes as a failed trial.
    """
    own = HydraConfig.get()
    folder = Path(own.runtime.output_dir)
    sweep = read_json(folder.parent / SWEEP)
    record = {
        "sweep": sweep.get("id"),
        "number": own.job.num,
        "overrides": list(own.overrides.task),
        "config": OmegaConf.to_container(cfg, resolve=False),
    }
    try:
        with _locked(folder) as lock:
            if _is_done(folder, record):
                how = "finished before, "
            else:
                how = ""
                _prepare(folder, record)
                total = sweep.get("num_jobs")
                place = f"{own.job.num + 1}" + (f" of {total}" if total else "")
                output = folder / OUTPUT
                log.info("%s: started (%s); its output is in %s", folder.name, place, output)
                error = _error(folder, _run(_command(module, folder), folder, lock))
                if error is not None:
                    write_json(folder / STATUS, {"state": "failed", "error": error})
                    raise JobError(error)
    except JobError as error:
        log.error("%s: FAILED: %s", folder.name, error)
        known = read_json(folder / JOB) or record
        now = {"sweep": record["sweep"], "number": record["number"], "error": str(error)}
        write_json(folder / JOB, {**known, **now})
        return None
    write_json(folder / JOB, {**record, "error": None})
    (best,) = read_json(folder / METRICS)["best"].values()  # of the held-out cases
    log.info("%s: %sbest score %.4f", folder.name, how, best)
    return float(best)


def _command(module: str, folder: Path) -> list[str]:
    own = HydraConfig.get()
    sources = [s for s in own.runtime.config_sources if s.provider == "command-line"]
    searched = [o for o in own.overrides.hydra if o.startswith("hydra.searchpath")]
    return [
        *(sys.executable, "-m", module, f"--config-name={own.job.config_name}"),
        *(f"--config-dir={source.path}" for source in sources),
        *own.overrides.task,
        *searched,
        "hydra.mode=RUN",
        f"hydra.run.dir={quoted(str(folder))}",
    ]


def _is_done(folder: Path, record: Mapping[str, Any]) -> bool:
    """Return whether the same job finished in this folder.

    Raises:
        JobError: Another job did; its results are not overwritten.
    """
    if not is_finished(folder):
        return False
    changed = _difference(read_json(folder / JOB), record)
    if changed:
        raise JobError(
            f"this folder holds a finished job of other settings ({changed}); give the sweep "
            "another name=..., or remove the folder"
        )
    return True


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first setting that differs as text; "" if none does."""
    if old.get("overrides") != new["overrides"]:
        return f"{' '.join(old.get('overrides', []))} before, {' '.join(new['overrides'])} now"
    return difference(old["config"], new["config"])


def _prepare(folder: Path, record: Mapping[str, Any]) -> None:
    """Remove what an unfinished job left, except the checkpoints of the same job."""
    old = read_json(folder / JOB)
    for name in (STATUS, METRICS, OUTPUT):
        (folder / name).unlink(missing_ok=True)
    if old and _difference(old, record):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    write_json(folder / JOB, {**record, "error": NOT_ENDED})


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Lock the job's folder; its process inherits the lock and keeps it if the sweep is killed.

    Raises:
        JobError: The job is running.
    """
    try:
        import fcntl
    except ImportError:
        raise JobError("sweeps need a Unix; run the trainings one by one") from None
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobError(
                "it is still running, started by an earlier sweep; wait for its end or stop it"
            ) from None
        yield lock.fileno()


def _run(command: Sequence[str], folder: Path, lock: int) -> int:
    with (folder / OUTPUT).open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=HydraConfig.get().runtime.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
        )
        try:
            return process.wait()
        finally:
            if process.poll() is None:  # the sweep is being stopped
                process.terminate()
                process.wait()


def _error(folder: Path, code: int) -> str | None:
    """Return why a job failed, in one line; None if it succeeded."""
    if code == 0 and is_finished(folder):
        return None
    lines = (folder / OUTPUT).read_text(errors="replace").strip().splitlines() or ["no output"]
    if lines[-1].startswith("error: "):
        return lines[-1].removeprefix("error: ")
    if code < 0:
        return f"killed by signal {-code}"
    recorded = str(read_json(folder / STATUS).get("error") or "").strip().splitlines()
    return recorded[0] if recorded else lines[-1]
