"""Timing variants against each other, interleaved: other load on the machine hits all alike."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from sali.run.progress import progress_bar

Call = Callable[[], object]
"""What is timed."""

Table = dict[str, dict[str, float]]
"""{row: {column: number}}."""


def time_interleaved(
    variants: Mapping[str, Call], rounds: int, warmup: int, device: torch.device
) -> dict[str, list[float]]:
    """Time all variants once per round, each round starting with another one.

    Args:
        variants: What is timed, by name.
        rounds: Calls of each variant that count.
        warmup: Rounds before those; allocators, caches and compilers settle in them.
        device: Device to wait for after each call, if it works in the background.

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
    """Return median, quartiles, and ratios to baselines.

    A ratio is the median over rounds of (time of the variant / time of the baseline in the same
    round): below 1 is faster than the baseline. It need not equal the ratio of the medians.

    Args:
        times: Milliseconds [rounds] of each variant, as `time_interleaved` returns them.
        baselines: Names of variants; those that were not timed are left out.

    Returns:
        {variant: {"rounds", "median ms", "q1 ms", "q3 ms", "x <baseline>": ratio}}.
    """
    rows = {}
    for name, own in times.items():
        q1, median, q3 = map(float, np.percentile(own, [25, 50, 75]))
        row = {"rounds": len(own), "median ms": median, "q1 ms": q1, "q3 ms": q3}
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
