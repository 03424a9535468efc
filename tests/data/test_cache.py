"""Kept frames are the decoded ones, whoever wrote them, and never those of other files."""

import os
import pickle
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch.utils.data import DataLoader

from sali.config import build, config_dir
from sali.data import datasets
from sali.data.cache import FrameCache
from sali.data.index import index_subset
from sali.errors import ConfigError, DataError

SIDE = 64


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for case in (1, 2, 3):
        for kind, suffix in (("Frame", "jpg"), ("GT", "png")):
            folder = tmp_path / f"data/TrainDataset/{kind}/case{case}_1"
            folder.mkdir(parents=True)
            for t in range(4):
                if kind == "Frame":
                    pixels = rng.integers(0, 256, (150, 170, 3), dtype=np.uint8)
                else:
                    pixels = np.zeros((150, 170), np.uint8)
                    pixels[: 20 + 9 * t, : 30 * case] = 255
                Image.fromarray(pixels).save(folder / f"image{t:04d}.{suffix}")
    return tmp_path / "data"


def data(root, cache, *more):
    overrides = [f"data.root={root}", "paths.output_dir=out", f"data.image_size={SIDE}"]
    overrides += [f"data.cache={cache}", "data.batch_size=2", "data.num_workers=0", *more]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        made = build(compose("train", overrides=[*overrides, "data.test_subsets=[]"]).data)
    made.index()
    made.roles = ("memory", "current", "neighbor")
    return made


def samples(made, epoch=1):
    dataset = made.train_dataloader().dataset
    return [dataset[epoch, i] for i in range(len(dataset))]


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.frames, other.frames) and torch.equal(one.masks, other.masks)


@pytest.mark.parametrize("kind", ["ram", "folder"])
def test_samples_are_bit_identical_and_decoded_once(root, tmp_path, kind, monkeypatch):
    plain = samples(data(root, "null"))
    cached = data(root, "ram" if kind == "ram" else tmp_path / "kept")
    dataset = cached.train_dataloader().dataset
    assert_same(plain, [dataset[1, i] for i in range(len(dataset))])
    monkeypatch.setattr(datasets, "read_frame", None)  # a second decoding would fail
    monkeypatch.setattr(datasets, "read_mask", None)
    assert_same(plain, [dataset[1, i] for i in range(len(dataset))])
    if kind == "folder":  # another run
        assert_same(plain, samples(data(root, tmp_path / "kept")))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_loader_processes_share_the_memory(root, start, monkeypatch):
    dataset = data(root, "ram").train_dataloader().dataset
    keys = [(0, i) for i in range(len(dataset))]
    loader = DataLoader(
        dataset, batch_size=None, sampler=keys, num_workers=2, multiprocessing_context=start
    )
    from_workers = [sample.frames for sample in loader]
    monkeypatch.setattr(datasets, "read_frame", None)  # all is there, put there by the workers
    for key, frames in zip(keys, from_workers, strict=True):
        assert torch.equal(dataset[key].frames, frames)


def fill(cache, clips, reader, start):
    """In a process of its own: write every frame, beginning somewhere."""
    dataset = datasets.SampleDataset(
        clips,
        roles=["current"],
        reader=reader,
        transform=None,
        neighbor="previous",
        max_skip={0: 1},
        seed=0,
    )
    places = [(c, i) for c in range(len(clips)) for i in range(4)]
    for c, i in places[start:] + places[:start]:
        cache.store(c, i, *dataset._decode(c, i))


def test_processes_may_write_at_once(root, tmp_path):
    clips, reader = index_subset(root, "train"), datasets.FrameReader(SIDE, "fast")
    cache = FrameCache(str(tmp_path / "kept"), clips, SIDE)
    assert "_memory" not in pickle.loads(pickle.dumps(cache)).__dict__
    context = get_context("fork")
    writers = [context.Process(target=fill, args=(cache, clips, reader, s)) for s in (0, 5, 9)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    for c, clip in enumerate(clips):
        for i, path in enumerate(clip.frames):
            frame, _ = cache.load(c, i)
            np.testing.assert_array_equal(frame, reader.fitted(path)[0])


def test_changed_files_and_other_sizes_are_decoded_anew(root, tmp_path):
    kept = tmp_path / "kept"
    samples(data(root, kept))
    frame = root / "TrainDataset/Frame/case1_1/image0002.jpg"
    status = frame.stat()
    Image.new("RGB", (170, 150)).save(frame)
    os.utime(frame, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert_same(samples(data(root, "null")), samples(data(root, kept)))
    other = [f"data.image_size={SIDE // 2}"]
    assert_same(samples(data(root, "null", *other)), samples(data(root, kept, *other)))


def test_spoilt_and_unfinished_records_are_decoded_anew(root, tmp_path):
    kept = tmp_path / "kept"
    plain = samples(data(root, kept))
    for file in sorted(kept.iterdir()):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content[:-10])
    assert_same(plain, samples(data(root, kept)))
    assert_same(plain, samples(data(root, kept)))


def test_what_cannot_be_is_refused(root, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="data.cache is 'ram' with data.decode=exact"):
        data(root, "ram", "data.decode=exact")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot make data.cache"):
        data(root, tmp_path / "file").train_dataloader()
    clips = index_subset(root, "train")
    with pytest.raises(ConfigError, match="needs .* GiB and the machine has"):
        FrameCache("ram", clips, 2**22)
    cache = FrameCache(str(tmp_path / "gone"), clips, SIDE)
    (tmp_path / "gone").rmdir()
    with pytest.raises(DataError, match="cannot write data.cache"):
        cache.store(0, 0, np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), np.uint8))
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(ConfigError, match="needs Linux; give a folder"):
        FrameCache("ram", clips, SIDE)


def test_a_training_without_roles_is_refused(root):
    made = data(root, "null")
    made.roles = ()
    with pytest.raises(ConfigError, match="roles"):
        made.train_dataloader()
