"""One rule for masks: above 128 is polyp, whoever reads them."""

import csv

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sali.data.check import check
from sali.data.datasets import ClipFrames, FrameReader, SampleDataset
from sali.data.frames import check_grey_header, read_mask
from sali.data.index import index_subset
from sali.data.transforms import ClipTransform
from sali.errors import FrameError
from sali.evaluation import Settings, evaluate

SIDE = 64
LEVELS = {127: 90, 128: 70, 129: 50, 255: 110}
"""Pixels of each grey value in a mask."""
POLYP = LEVELS[129] + LEVELS[255]
NOTHING = ClipTransform([], [], shared_colour=False)


def mask_of(levels):
    flat = np.zeros(SIDE * SIDE, np.uint8)
    start = 200
    for value, number in levels.items():
        flat[start : start + number] = value
        start += number
    return flat.reshape(SIDE, SIDE)


@pytest.fixture
def root(tmp_path):
    """Clips of three frames at the network's size, so that nothing is resized."""
    rng = np.random.default_rng(0)
    for subset in ("TrainDataset", "TestEasyDataset/Seen"):
        frames, masks = (tmp_path / subset / kind / "case1_1" for kind in ("Frame", "GT"))
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        for t in range(3):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(frames / f"image{t}.jpg")
            Image.fromarray(mask_of(LEVELS)).save(masks / f"image{t}.png")
    return tmp_path


@pytest.mark.parametrize("decode", ["fast", "exact"])
def test_training_samples_count_pixels_above_128(root, decode):
    dataset = SampleDataset(
        index_subset(root, "train"),
        roles=["memory", "current", "neighbor"],
        reader=FrameReader(SIDE, decode),
        transform=NOTHING,
        neighbor="previous",
        max_skip={0: 1},
        seed=0,
    )
    for index in range(3):
        assert dataset[0, index].masks.sum((1, 2, 3)).tolist() == [POLYP] * 3


def test_streamed_test_frames_count_pixels_above_128(root):
    frames = ClipFrames(index_subset(root, "seen_easy"), FrameReader(SIDE, "fast"), with_masks=True)
    assert [int(frames[i].mask.sum()) for i in range(3)] == [POLYP] * 3
    assert frames[0].mask.dtype == torch.uint8


def test_an_evaluation_counts_pixels_above_128(root, tmp_path):
    maps = tmp_path / "maps/TestEasyDataset/Seen/case1_1"
    maps.mkdir(parents=True)
    for t in range(3):
        Image.fromarray(mask_of(LEVELS)).save(maps / f"image{t}.png")
    settings = Settings(protocol="both", num_workers=1)
    evaluate(root, tmp_path / "maps", tmp_path / "out", settings)
    with (tmp_path / "out/frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["polyp_pixels"]) for row in rows] == [POLYP] * 3


def test_a_check_finds_no_fault_in_such_masks(root):
    (root / "TestEasyDataset").rename(root / "away")
    assert check(root, None, None, num_workers=1)["problems"] == []


@pytest.mark.parametrize("highest", [1, 127, 128])
def test_masks_that_would_turn_out_empty_are_refused(tmp_path, highest):
    Image.fromarray(mask_of({highest: 50})).save(tmp_path / "mask.png")
    with pytest.raises(FrameError, match=rf"mask\.png has no value above {highest}.*wanted 0 and"):
        read_mask(tmp_path / "mask.png")
    Image.fromarray(mask_of({})).save(tmp_path / "mask.png")
    assert not read_mask(tmp_path / "mask.png").any()


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_grey_stored_otherwise_is_the_same_grey(tmp_path, mode, suffix):
    path = tmp_path / f"mask.{suffix}"
    levels = {255: 60} if mode == "1" else LEVELS
    Image.fromarray(mask_of(levels)).convert(mode).save(path)
    check_grey_header(path)
    np.testing.assert_array_equal(read_mask(path), mask_of(levels) > 128)


def write_16_bit(path):
    cv2.imwrite(str(path), mask_of(LEVELS).astype(np.uint16) * 257)


def write_16_bit_colour(path):
    cv2.imwrite(str(path), np.dstack([mask_of(LEVELS).astype(np.uint16) * 257] * 3))


def write_alpha(path):
    Image.fromarray(mask_of(LEVELS)).convert("LA").save(path)


def write_transparent_palette(path):
    Image.fromarray(mask_of(LEVELS)).convert("P").save(path, transparency=0)


def write_colour(path):
    Image.fromarray(np.dstack([mask_of(LEVELS), *[mask_of({255: 9})] * 2])).save(path)


@pytest.mark.parametrize(
    ("write", "got"),
    [
        (write_16_bit, "16-bit"),
        (write_16_bit_colour, "16-bit"),
        (write_alpha, "alpha"),
        (write_transparent_palette, "alpha"),
        (write_colour, "colour"),
    ],
)
def test_what_is_not_8_bit_grey_is_refused_by_header_and_by_content(tmp_path, write, got):
    path = tmp_path / "mask.png"
    write(path)
    for read in (check_grey_header, read_mask):
        with pytest.raises(FrameError, match=rf"mask\.png .*{got}.*wanted 8-bit grey"):
            read(path)


def test_any_damage_to_a_mask_is_noticed(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(mask_of(LEVELS)).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(41, len(whole) - 12, 40):  # between header and end
        spoilt = bytearray(whole)
        spoilt[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        with pytest.raises(FrameError, match=r"mask\.png cannot be read"):
            read_mask(path)
    path.write_bytes(whole[:-40])
    with pytest.raises(FrameError):
        read_mask(path)
