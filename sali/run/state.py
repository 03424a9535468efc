"""``status.json``: whether a run is running, finished or failed.

A run that is killed cannot say so. It is watched by this file, run as a program: needs nothing but
the standard library, so that the watching process is small.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "status.json"
LOOK_EVERY_SECONDS = 0.2
KILLED = "killed from outside, e.g. out of memory; go on with ckpt_path=auto in the same folder"


def set_state(folder: Path, state: str, error: str | None = None) -> None:
    """Write ``status.json`` through a temporary file, so that nobody reads half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{NAME}.{os.getpid()}.partial"
    partial.write_text(json.dumps({"state": state, "error": error}, indent=2) + "\n")
    partial.replace(folder / NAME)


def set_failed(folder: Path, error: str) -> None:
    """Note the first failure; those that follow from it, on other processes, change nothing."""
    try:
        if json.loads((folder / NAME).read_text())["state"] == "failed":
            return
    except FileNotFoundError:
        pass
    set_state(folder, "failed", error)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Have "failed" written if this process is killed before the end."""
    command = [sys.executable, "-I", "-S", __file__, str(folder.resolve()), str(os.getpid())]
    # A session of its own: it must outlive a signal to the whole process group.
    watcher = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        watcher.kill()
        watcher.wait()


def _watch(folder: Path, process: int) -> None:
    while os.getppid() == process:
        time.sleep(LOOK_EVERY_SECONDS)
    try:
        state = json.loads((folder / NAME).read_text())["state"]
    except FileNotFoundError:  # the folder was removed
        return
    if state == "running":
        set_failed(folder, KILLED)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]), int(sys.argv[2]))
