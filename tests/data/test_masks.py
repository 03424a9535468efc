"""One rule for masks: above 128 is polyp, whoever reads them."""

import csv
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sali.data.check import check
from sali.data.datasets import ClipFrames, FrameReader, SampleDataset
from sali.data.frames import check_header, read_frame, read_grey, read_mask, read_size
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
    check_header(path, read_mask)
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
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)


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
    for read in (lambda one: check_header(one, read_mask), read_mask):
        with pytest.raises(FrameError, match=rf"mask\.png .*{got}.*wanted 8-bit grey"):
            read(path)


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_every_label_colour_is_polyp_and_black_is_not(tmp_path, mode):
    labels = np.zeros((SIDE, SIDE, 3), np.uint8)
    labels[2:9, 2:9] = (250, 50, 83)  # a palette of CVAT
    labels[12:20, 2:9] = (0, 128, 0)
    labels[2:9, 12:20] = (0, 0, 60)
    path = tmp_path / "mask.png"
    Image.fromarray(labels).convert(mode).save(path)
    check_header(path, read_mask)
    np.testing.assert_array_equal(read_mask(path), labels.any(2))
    with pytest.raises(FrameError, match="in colour"):
        read_grey(path)  # a map has no labels


def test_a_grey_mask_whose_channels_differ_by_compression_is_its_grey(tmp_path):
    rng = np.random.default_rng(1)
    grey = mask_of({255: 300, 128: 20})
    channels = np.dstack([grey.astype(int)] * 3) + rng.integers(-6, 7, (SIDE, SIDE, 3))
    path = tmp_path / "mask.png"
    Image.fromarray(channels.clip(0, 255).astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_mask(path)[grey != 128], (grey > 128)[grey != 128])


@pytest.mark.parametrize("orientation", [*range(10), 65535])
def test_frames_are_upright_whatever_reads_them(tmp_path, orientation):
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:16, :20] = (200, 30, 30)
    upright[32:, 44:] = (30, 200, 30)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation in turns:
        stored = stored.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "frame.jpg"
    stored.save(path, exif=exif, quality=100, subsampling=0)
    assert read_size(path) == (48, 64)
    for near in (None, 24):
        frame, size = read_frame(path, near)
        assert size == (48, 64)
        whole = cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA)
        assert np.abs(whole.astype(int) - upright).mean() < 6


def test_16_bit_grey_frames_keep_their_range(tmp_path):
    ramp = np.tile(np.arange(0, 65536, 1024, dtype=np.uint16), (32, 1))
    cv2.imwrite(str(tmp_path / "frame.png"), ramp)
    frame, size = read_frame(tmp_path / "frame.png")
    assert size == (32, 64)
    np.testing.assert_array_equal(frame, np.dstack([(ramp // 256).astype(np.uint8)] * 3))
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "frame.tif")
    with pytest.raises(FrameError, match="32 bits"):
        read_frame(tmp_path / "frame.tif")


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_upright_as_their_frames_are(tmp_path, orientation):
    pixels = np.zeros((32, 48), np.uint8)
    pixels[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("mask.jpg", "frame.jpg"):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif, quality=100)
    frame, size = read_frame(tmp_path / "frame.jpg")
    mask = read_mask(tmp_path / "mask.jpg")
    assert mask.shape == size
    np.testing.assert_array_equal(mask, frame[..., 0] > 128)


def test_a_damage_that_pillow_trips_over_is_an_error_of_the_frame(tmp_path):
    path = tmp_path / "0.tif"
    page = Image.new("L", (8, 6))
    page.save(path, save_all=True, append_images=[page])
    first, rows, second = path.read_bytes().rpartition(struct.pack("<H", 0x0101))
    path.write_bytes(first + b"\x77" * len(rows) + second)  # the second page has no height
    with pytest.raises(FrameError, match="Missing dimensions"):
        read_frame(path)
    assert read_mask(path).shape == (6, 8)  # OpenCV reads the first page


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_a_file_of_several_pictures_is_refused(tmp_path, name):
    pages = [Image.fromarray(mask_of({255: 50 * (i + 1)})) for i in range(3)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    for read in (read_frame, read_mask):
        with pytest.raises(FrameError, match="holds 3 pictures, wanted one"):
            read(tmp_path / name)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    for width, height in ((2**31 - 1, 1), (30_000, 30_000)):
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)
        for read in (read_mask, read_grey, read_frame, read_size):
            with pytest.raises(FrameError, match=r"image.png"):
                read(path)


def test_a_damaged_header_is_an_error_of_the_file(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"P6\nwide 4\n255\n" + bytes(48))
    for read in (read_mask, read_grey, read_frame, read_size):
        with pytest.raises(FrameError, match=r"image.png"):
            read(path)
