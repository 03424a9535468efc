"""How fast training samples come from the disk, and where the time of one sample goes."""

import time
from collections.abc import Callable, Sequence
from itertools import islice

from sali.data.datamodule import ClipData
from sali.data.datasets import SampleDataset
from sali.errors import ConfigError

ROLES = ("memory", "current", "neighbor")
"""Frames of a sample: all that there are."""


def measure_loader(data: ClipData, num_batches: int) -> dict[str, float]:
    """Training samples per second, and a sample's time on one core by part.

    As many batches are drawn before, in the same epoch, so that workers are busy when the clock
    starts. A cache is filled by a whole epoch first.

    Args:
        data: the data module; its ``num_workers``, ``cache`` and transform are what is measured.
        num_batches: that are timed.

    Returns:
        samples_per_second (all workers together), and per sample on one core: read_ms (decode and
        resize, or from the cache), transform_ms, tensor_ms, and their sum as
        samples_per_second_per_core.

    Raises:
        ConfigError: an epoch has fewer than twice the batches asked for.
    """
    data.setup("fit")
    data.roles = ROLES
    loader = data.train_dataloader()
    if 2 * num_batches > len(loader):
        raise ConfigError(
            f"num_batches is {num_batches}; an epoch has {len(loader)} and must have twice as many"
        )
    if data.cache:
        for _ in loader:
            pass
    batches = iter(loader)
    for _ in islice(batches, num_batches):
        pass
    start = time.perf_counter()
    for _ in islice(batches, num_batches):
        pass
    seconds = time.perf_counter() - start
    assert isinstance(loader.dataset, SampleDataset)
    keys = list(islice(loader.sampler, num_batches * data.batch_size))
    return {
        "samples_per_second": len(keys) / seconds,
        **time_parts(loader.dataset, keys),
    }


def time_parts(dataset: SampleDataset, keys: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Processor time of samples by part, mean over the samples; see ``measure_loader``."""
    spent = [0, 0, 0]
    for key in keys:
        times = [time.process_time_ns()]
        read = dataset.read(key)
        times.append(time.process_time_ns())
        moved = dataset.transform(*read)
        times.append(time.process_time_ns())
        dataset.to_tensors(*moved)
        times.append(time.process_time_ns())
        spent = [s + stop - t for s, t, stop in zip(spent, times[:-1], times[1:], strict=True)]
    names = ("read_ms", "transform_ms", "tensor_ms")
    parts = {name: ns / 1e6 / len(keys) for name, ns in zip(names, spent, strict=True)}
    return {**parts, "samples_per_second_per_core": 1e3 / sum(parts.values())}


def measure_loaders(
    make: Callable[[int, str | None], ClipData],
    num_workers: Sequence[int],
    caches: Sequence[str | None],
    num_batches: int,
) -> dict[str, dict[str, float]]:
    """``measure_loader`` for numbers of workers, with and without a cache.

    Args:
        make: from (num_workers, cache) to the data module.
        num_workers: loader processes.
        caches: values of ``data.cache``.
        num_batches: that are timed of each.

    Returns:
        {"2 workers, cache ram": {"samples_per_second": ...}}.
    """
    return {
        f"{number} workers, cache {cache or 'off'}": measure_loader(
            make(number, cache), num_batches
        )
        for cache in caches
        for number in num_workers
    }
