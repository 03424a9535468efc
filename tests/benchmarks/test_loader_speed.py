"""The measurement times the loader that training uses, and its parts add up."""

import pytest
from hydra import compose, initialize_config_dir

from benchmarks.loader import measure_loader
from sali.config import build, config_dir
from sali.data.synthetic import SyntheticSpec, generate
from sali.errors import ConfigError

SPEC = SyntheticSpec(
    train_clips=3,
    test_clips_per_subset=0,
    frames_per_clip=6,
    height=64,
    width=80,
    polyp_free_clips=0,
    seed=1,
)
READ, TRANSFORM = 0.02, 0.01


@pytest.fixture
def make(tmp_path):
    root = generate(tmp_path / "data", SPEC)

    def made(num_workers, cache):
        overrides = [f"data.root={root}", "paths.output_dir=out", "data.image_size=64"]
        overrides += ["data.batch_size=2", "data.test_subsets=[]", "data/transform=none"]
        overrides += [f"data.num_workers={num_workers}", f"data.cache={cache or 'null'}"]
        with initialize_config_dir(config_dir(), version_base="1.3"):
            return build(compose("train", overrides=overrides).data)

    return made


class Clock:
    """Time that passes only where the test says so, for the processor and for people alike."""

    def __init__(self):
        self.seconds = 0.0

    def process_time_ns(self):
        return round(1e9 * self.seconds)

    def perf_counter(self):
        return self.seconds

    def spend(self, seconds, result):
        self.seconds += seconds
        return result


def test_parts_are_told_apart(make, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("benchmarks.loader.time", clock)
    data = make(0, None)
    decode = type(data.reader).fitted
    monkeypatch.setattr(
        type(data.reader), "fitted", lambda *args: clock.spend(READ / 3, decode(*args))
    )
    data.transform = lambda frames, masks, rng: clock.spend(TRANSFORM, (frames, masks))
    found = measure_loader(data, num_batches=2)
    assert found["read_ms"] == pytest.approx(1e3 * READ)  # three frames a sample
    assert found["transform_ms"] == pytest.approx(1e3 * TRANSFORM)
    assert found["tensor_ms"] == 0
    assert found["samples_per_second_per_core"] == pytest.approx(1 / (READ + TRANSFORM))
    assert found["samples_per_second"] == pytest.approx(1 / (READ + TRANSFORM))


def test_workers_and_caches(make):
    for cache in (None, "ram"):
        for num_workers in (0, 1):
            found = measure_loader(make(num_workers, cache), num_batches=2)
            assert all(value > 0 for value in found.values())
    with pytest.raises(ConfigError, match="num_batches: got 99, wanted .* 6"):
        measure_loader(make(0, None), 99)
