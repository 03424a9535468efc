"""Time of variants against each other, and peaks of memory.

Variants are interleaved, so that other load on the machine hits all alike. A peak never falls, so
that of a variant is measured in a process of its own.
"""

import logging
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch

from benchmarks import process
from benchmarks.process import MEBIBYTE, STATUS
from sali.run.progress import progress_bar

log = logging.getLogger(__name__)

Call = Callable[[], object]
"""What is timed."""

Table = dict[str, dict[str, float]]
"""{row: {column: number}}."""


def time_interleaved(
    variants: Mapping[str, Call], rounds: int, warmup: int, device: torch.device
) -> dict[str, list[float]]:
    """Time all variants once per round, each round starting with another one.

    Allocators, caches and compilers settle in the rounds of the warm-up. A device that works in
    the background is waited for after each call.

    Returns:
        Milliseconds [rounds] of each variant; equal positions belong to the same round.

    Raises:
        ValueError: No round.
    """
    if rounds < 1:
        raise ValueError(f"rounds: got {rounds}, wanted at least 1")
    names = list(variants)
    times: dict[str, list[float]] = {name: [] for name in names}
    with progress_bar("rounds", background=False) as progress:
        bar = progress.add_task("timing", total=warmup + rounds)
        for r in range(warmup + rounds):
            first = r % len(names)
            for name in names[first:] + names[:first]:
                synchronize(device)
                start = time.perf_counter()
                variants[name]()
                synchronize(device)
                if r >= warmup:
                    times[name].append(1000 * (time.perf_counter() - start))
            progress.update(bar, advance=1, refresh=True)
    return times


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def summarize(times: Mapping[str, Sequence[float]], baselines: Sequence[str]) -> Table:
    """Return median, quartiles, 95th percentile, and ratios to baselines.

    A ratio is the median over rounds of (time of the variant / time of the baseline in the same
    round): below 1 is faster than the baseline. It need not equal the ratio of the medians.
    Baselines that were not timed are left out.

    Returns:
        {variant: {"rounds", "median ms", "q1 ms", "q3 ms", "p95 ms", "x <baseline>": ratio}}.
    """
    rows = {}
    for name, own in times.items():
        q1, median, q3, p95 = map(float, np.percentile(own, [25, 50, 75, 95]))
        row = {"rounds": len(own), "median ms": median, "q1 ms": q1, "q3 ms": q3, "p95 ms": p95}
        rows[name] = row | {
            f"x {base}": float(np.median(np.divide(own, times[base])))
            for base in baselines
            if base in times
        }
    return rows


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return the b of y = a x^b, least squares of logarithms; None with fewer than two points."""
    if len(set(x)) < 2:
        return None
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def peak_mib(device: torch.device) -> float:
    """Return the largest memory in MiB of this process, or on its GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    return process.peak_mib()


def peak_of(call: Call, steps: int, device: torch.device) -> dict[str, float]:
    """Return the memory in MiB before and at the peak of a number of calls, as a row."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif STATUS.exists():  # else the peak of the start-up counts too
        STATUS.with_name("clear_refs").write_text("5")
    before = peak_mib(device)
    for _ in range(steps):
        call()
    return {"before MiB": before, "peak MiB": peak_mib(device)}


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of a module's top level in a new process that inherits nothing."""
    log.info("memory of a fresh process, some seconds")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *args).result()
