"""Peak memory of one variant, in a process of its own: a peak never falls."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

MEBIBYTE = 2**20


def peak_mib(device: torch.device) -> float:
    """Largest memory so far of this process, or of the GPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: Linux hands it from the parent down to a process that it starts.
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` in a new process that inherits nothing of this one.

    Args:
        function: of a module's top level.
        args: plain values.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *args).result()
