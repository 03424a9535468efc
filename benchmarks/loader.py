"""How fast training samples come from the disk, and where the time of one sample goes."""

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from sali.data.datamodule import ClipData
from sali.data.datasets import SampleDataset
from sali.errors import ConfigError

ROLES = ("memory", "current", "neighbor")
"""Frames of a sample: all that there are."""


def measure_loader(data: ClipData, num_batches: int) -> dict[str, float]:
    """Measure training samples per second, and a sample's time on one core by part.

    As many batches are drawn before, in the same epoch, so that workers are busy when the clock
    starts. A cache is filled by a whole epoch first.

    Returns:
        {"samples_per_second": of all workers together, and what `time_parts` returns}.

    Raises:
        ConfigError: An epoch has fewer than twice the batches asked for.
    """
    data.setup("fit")
    data.roles = ROLES
    loader = data.train_dataloader()
    if 2 * num_batches > len(loader):
        raise ConfigError(
            f"num_batches: got {num_batches}, wanted at most half of an epoch's {len(loader)}"
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
    return {"samples_per_second": len(keys) / seconds, **time_parts(loader.dataset, keys)}


def time_parts(dataset: SampleDataset, keys: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Measure the processor time of samples by part.

    Returns:
        Means over the samples: `read_ms` (decode and resize, or from the cache), `transform_ms`,
        `tensor_ms`; and what their sum gives as `samples_per_second_per_core`.
    """
    transform = dataset.transform
    spent = dict.fromkeys(("read_ms", "transform_ms", "tensor_ms"), 0)
    marks: list[int] = []

    def marked(*sample: Any) -> Any:
        marks.append(time.process_time_ns())
        result = transform(*sample)
        marks.append(time.process_time_ns())
        return result

    dataset.transform = marked
    try:
        for key in keys:
            marks[:] = [time.process_time_ns()]
            dataset[key]
            marks.append(time.process_time_ns())
            for part, start, stop in zip(spent, marks[:-1], marks[1:], strict=True):
                spent[part] += stop - start
    finally:
        dataset.transform = transform
    parts = {part: ns / 1e6 / len(keys) for part, ns in spent.items()}
    return {**parts, "samples_per_second_per_core": 1e3 / sum(parts.values())}
