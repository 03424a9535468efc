"""How a run stands: `status.json`, running, finished or failed, and what it is resumed from.

A killed run cannot write that it failed, and who reads the file, perhaps on another machine, cannot
look for the process. So a small process that imports the standard library only watches the run.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sali.run.io import read_json, write_json

STATUS = "status.json"
METRICS = "metrics.json"
LAST, PREVIOUS = "last.ckpt", "last.previous.ckpt"
"""The checkpoint that a run is resumed from, and the one before it."""
JOB, SWEEP = "job.json", "sweep.json"
"""What a job of a sweep was given, in its folder; what the sweep was given, in the one above."""
POLL_SECONDS = 0.2
KILLED = "killed from outside, e.g. out of memory; resume with ckpt_path=auto in the same folder"
ROOT = Path(__file__).parents[2]


def set_state(folder: Path, state: str, error: str | None = None) -> None:
    """Write `status.json`."""
    write_json(folder / STATUS, {"state": state, "error": error})


def is_finished(folder: Path) -> bool:
    """Return whether a run ended well and left its scores."""
    return read_json(folder / STATUS).get("state") == "finished" and (folder / METRICS).is_file()


def last_checkpoint(output: Path) -> Path | None:
    """Return the checkpoint that a run's folder is resumed from, if there is one."""
    folder = output / "checkpoints"
    return next((path for name in (LAST, PREVIOUS) if (path := folder / name).is_file()), None)


def set_failed(folder: Path, error: str) -> None:
    """Record the first failure; those that follow from it on other processes change nothing."""
    if read_json(folder / STATUS).get("state") != "failed":
        set_state(folder, "failed", error)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Have "failed" written if this process is killed within the block."""
    command = [sys.executable, "-P", "-S", "-m", __name__, str(folder.resolve()), str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A session of its own: it must outlive a signal to the whole process group.
    watcher = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        yield
    finally:
        watcher.kill()
        watcher.wait()


def _watch(folder: Path, process: int) -> None:
    while os.getppid() == process:
        time.sleep(POLL_SECONDS)
    if read_json(folder / STATUS).get("state") == "running":
        set_failed(folder, KILLED)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]), int(sys.argv[2]))
