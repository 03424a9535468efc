"""Interleaving, ratios, exponents and peaks of memory, on calls whose cost is known."""

import numpy as np
import pytest
import torch

from benchmarks.timing import (
    fit_exponent,
    in_fresh_process,
    peak_of,
    summarize,
    time_interleaved,
)

CPU = torch.device("cpu")


def test_variants_take_turns_and_warm_up():
    calls = []
    variants = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = time_interleaved(variants, rounds=4, warmup=2, device=CPU)
    rounds = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca", "cab"]
    assert {name: len(own) for name, own in times.items()} == {"a": 4, "b": 4, "c": 4}
    with pytest.raises(ValueError, match="rounds: got 0"):
        time_interleaved(variants, 0, 1, CPU)


def test_a_ratio_is_the_median_of_the_ratios_of_rounds():
    times = {"base": [1.0, 10.0, 100.0], "other": [2.0, 5.0, 300.0]}
    rows = summarize(times, ("base", "absent"))
    assert rows["base"]["x base"] == 1.0 and "x absent" not in rows["base"]
    assert rows["other"]["x base"] == 2.0  # of 2, 0.5 and 3; that of the medians is 0.5
    assert rows["other"]["median ms"] == 5.0
    assert (rows["other"]["q1 ms"], rows["other"]["q3 ms"]) == (3.5, 152.5)


def test_exponent():
    assert fit_exponent([1, 2, 8], [3, 12, 192]) == pytest.approx(2)
    assert fit_exponent([5], [1]) is None


def allocate(mebibytes: int) -> dict[str, float]:
    kept = np.ones(mebibytes * 2**17)  # float64

    def call() -> None:
        np.ones(len(kept))

    return peak_of(call, steps=3, device=CPU)


def test_peak_of_a_fresh_process_is_its_own():
    large = np.ones(500 * 2**17)  # of this process: not to be seen in the other
    peaks = in_fresh_process(allocate, 64)
    assert 60 < peaks["peak MiB"] - peaks["before MiB"] < 80
    here = peak_of(large.sum, 1, CPU)
    assert peaks["before MiB"] < here["before MiB"] - 400
