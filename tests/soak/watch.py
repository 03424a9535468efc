"""What a process and those that it started hold, over time."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

LIMITS = {"memory": 64.0, "handles": 8, "threads": 4, "files": 8}
"""Largest growth from the second to the last quarter; memory in MiB."""
_PART = 4


class Sample(NamedTuple):
    """Resident memory in MiB, open handles, threads, and files in the temporary folder."""

    seconds: float
    memory: float
    handles: int
    threads: int
    files: int


class Watch(threading.Thread):
    """Samples a process and its children until it ends or `stop` is called.

    Args:
        process: The process.
        temporary: Its temporary folder.
        every: Seconds between two samples.
    """

    def __init__(self, process: subprocess.Popen[str], temporary: Path, every: float) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self._process, self._temporary, self._every = process, temporary, every
        self._stopped = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        while self._process.poll() is None and not self._stopped.wait(self._every):
            memory = handles = threads = 0.0
            try:
                root = psutil.Process(self._process.pid)
                for one in (root, *root.children(recursive=True)):
                    memory += one.memory_info().rss / 2**20
                    handles += one.num_fds()
                    threads += one.num_threads()
            except psutil.NoSuchProcess:
                continue
            now, files = time.monotonic() - began, count_files(self._temporary)
            self.samples.append(Sample(now, memory, int(handles), int(threads), files))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def count_files(folder: Path) -> int:
    """Return the number of files in a folder; unlike `rglob` it bears that folders vanish."""
    return sum(len(names) for _, _, names in os.walk(folder))


def verdict(
    samples: list[Sample], tell: Callable[[str], None], limits: Mapping[str, float] = LIMITS
) -> bool:
    """Say how each figure went, and return whether one grew.

    The medians of the second and of the last quarter are compared: the first one is the start.
    """
    if len(samples) < 2 * _PART:
        tell(f"  only {len(samples)} samples: too short to judge")
        return True
    quarter = len(samples) // _PART
    grew = False
    for name, limit in limits.items():
        values = [float(getattr(sample, name)) for sample in samples]
        before, after = median(values[quarter : 2 * quarter]), median(values[-quarter:])
        bad = after - before > limit
        grew |= bad
        tell(
            f"  {name:<8} second quarter {before:.0f}, last {after:.0f}, most {max(values):.0f}"
            + (f"  GREW by more than {limit:g}" if bad else "")
        )
    return grew
