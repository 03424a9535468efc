"""Peak memory of one variant, in a process of its own: a peak never falls."""

import logging
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

MEBIBYTE = 2**20
STATUS = Path("/proc/self/status")


def restart_peak(device: torch.device) -> None:
    """Let the peak begin at what is in use now, where the system can; else start-up counts too."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib(device: torch.device) -> float:
    """Return the largest memory in MiB of this process, or on its GPU, since the restart."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    if STATUS.exists():
        # Not ru_maxrss: Linux hands it from the parent down to a process that it starts.
        line = next(s for s in STATUS.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE


def peak_of(call: Callable[[], object], steps: int, device: torch.device) -> dict[str, float]:
    """Return the memory in MiB before and at the peak of a number of calls, as a row."""
    restart_peak(device)
    before = peak_mib(device)
    for _ in range(steps):
        call()
    return {"before MiB": before, "peak MiB": peak_mib(device)}


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a new process that inherits nothing of this one.

    Args:
        function: Function of a module's top level.
        args: Plain values.
    """
    log.info("memory of a fresh process, some seconds")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *args).result()
