"""Folders of images and masks become stills or a clip."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sali.config import config_dir
from sali.data.frames import read_mask
from sali.data.import_folder import import_folder
from sali.data.importing import Writing, home_of, pair
from sali.data.index import index_clip
from sali.errors import ConfigError, DataError, FrameError

SIZE = (24, 32)  # height, width


def draw(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mark(path, rows=8, high=255, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(SIZE, np.uint8)
    mask[:rows, :16] = high
    Image.fromarray(mask).convert(mode).save(path)
    return path


@pytest.fixture
def source(tmp_path):
    """As dirty as public data: file types, endings, colour depth of masks, hidden files."""
    home = tmp_path / "source"
    draw(home / "images/a10.jpg", 1)
    draw(home / "images/a9.png", 2)
    draw(home / "images/b.bmp", 3)
    mark(home / "masks/a10.png", 8)
    mark(home / "masks/a9_mask.jpg", 16, mode="RGB")
    mark(home / "masks/b.tif", 0)
    (home / "images/._a10.jpg").write_bytes(b"litter")
    (home / "images/Thumbs.db").write_bytes(b"litter")
    (home / "boxes.json").write_text("{}")
    return home


def imported(source, output, clip=None, **changes):
    options = {
        "mask_suffixes": ["", "_mask"],
        "unmasked": "error",
        "polyp_above": 128,
        "writing": Writing(None, 95),
        **changes,
    }
    home = home_of(clip, "train")
    import_folder(source / "images", source / "masks", output, home, **options)
    masks = output / home.masks if (output / home.masks).is_dir() else None
    return index_clip(output / home.frames, "train", masks)


def areas(clip):
    return [None if mask is None else int(read_mask(mask).sum()) for mask in clip.masks]


def test_a_dirty_folder_becomes_stills(source, tmp_path):
    clip = imported(source, tmp_path / "data")
    assert clip.stems == ("a9", "a10", "b")
    assert areas(clip) == [16 * 16, 8 * 16, 0]
    kept = [source / "images/a9.png", source / "images/a10.jpg"]
    assert [f.read_bytes() for f in clip.frames[:2]] == [f.read_bytes() for f in kept]
    bitmap = np.asarray(Image.open(source / "images/b.bmp"))
    assert clip.frames[2].suffix == ".png"
    np.testing.assert_array_equal(np.asarray(Image.open(clip.frames[2])), bitmap)
    assert {p.name for p in tmp_path.iterdir()} == {"source", "data"}


def test_the_command_says_what_it_did(source, tmp_path):
    def run(*overrides):
        return subprocess.run(
            [sys.executable, "-m", "sali.data.import_folder", f"source={source}", *overrides],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(config_dir()).parent)},
        )

    done = run("output=data", "clip=case1_1")
    assert done.returncode == 0, done.stderr
    assert "3 images, 2 of them with a polyp" in done.stdout
    assert "passed over 2 files of file managers" in done.stdout
    assert areas(index_clip(tmp_path / "data/TrainDataset/Frame/case1_1")) == [None] * 3
    again = run("output=data", "clip=case1_1")
    assert again.returncode == 1
    assert again.stderr.startswith("error: ") and "already there" in again.stderr
    assert run("output=data", "clip=case2_1").returncode == 0
    assert {p.name for p in (tmp_path / "data/TrainDataset/GT").iterdir()} == {"case1_1", "case2_1"}


def test_large_images_are_reduced_with_their_masks(source, tmp_path):
    clip = imported(source, tmp_path / "data", writing=Writing(longest_side=16, quality=90))
    assert {Image.open(path).size for path in (*clip.frames, *clip.masks)} == {(16, 12)}
    assert areas(clip) == [8 * 8, 4 * 8, 0]
    tiny = np.zeros((480, 640), np.uint8)
    tiny[100:103, 100:103] = 255
    Image.new("RGB", (640, 480)).save(source / "images/a.png")
    Image.fromarray(tiny).save(source / "masks/a.png")
    with pytest.raises(FrameError, match="a.png: nothing is left of its mask at longest_side=16"):
        imported(source, tmp_path / "other", writing=Writing(longest_side=16, quality=90))


def test_images_without_a_mask_are_what_the_user_says(source, tmp_path):
    draw(source / "images/c.png")
    with pytest.raises(DataError, match=r"1 of 4 images have no mask.*c.png.*unmasked=empty"):
        imported(source, tmp_path / "data")
    assert areas(imported(source, tmp_path / "empty", unmasked="empty"))[-1] == 0
    assert areas(imported(source, tmp_path / "kept", "case1_1", unmasked="keep"))[-1] is None
    with pytest.raises(ConfigError, match="stills need one"):
        imported(source, tmp_path / "data", unmasked="keep")
    with pytest.raises(ConfigError, match="wanted one of error, empty, keep"):
        imported(source, tmp_path / "data", unmasked="zero")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda s: mark(s / "masks/d.png"), DataError, "1 masks .* no image, e.g. d.png"),
        (lambda s: mark(s / "masks/a9.png"), DataError, "masks a9.png and a9_mask.jpg"),
        (lambda s: draw(s / "images/b.png"), DataError, "would both be frame b"),
        (lambda s: mark(s / "masks/a10.png", high=1), FrameError, "with polyp_above=0"),
        (
            lambda s: Image.new("L", (9, 9)).save(s / "masks/a10.png"),
            FrameError,
            "9x9 but its frame",
        ),
        (
            lambda s: draw(s / "masks/a9_mask.jpg"),
            FrameError,
            "is in colour",
        ),
        (lambda s: (s / "images/b.bmp").write_bytes(b"x"), FrameError, "cannot read frame"),
        (lambda s: (s / "masks").rename(s / "labels"), DataError, "no folder .*masks"),
    ],
)
def test_faults_are_named_and_leave_nothing(source, tmp_path, spoil, error, message):
    spoil(source)
    with pytest.raises(error, match=message) as caught:
        imported(source, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_masks_of_0_and_1_are_read_where_the_user_says_so(source, tmp_path):
    mark(source / "masks/a10.png", high=1)
    mark(source / "masks/a9_mask.jpg", 0)
    assert areas(imported(source, tmp_path / "data", polyp_above=0)) == [0, 8 * 16, 0]


def test_colours_of_an_annotation_tool_are_polyps(source, tmp_path):
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[:8, :16] = (120, 0, 0)
    Image.fromarray(mask).save(source / "masks/a10.png")
    assert areas(imported(source, tmp_path / "data"))[1] == 8 * 16


def test_grey_that_a_jpeg_left_of_nothing_is_empty_and_said(source, tmp_path, caplog):
    mark(source / "masks/a9_mask.jpg", high=100)
    assert areas(imported(source, tmp_path / "data"))[0] == 0
    assert "a9_mask.jpg: nothing is above 128, taken as empty" in caplog.text


@pytest.mark.parametrize("clip", ["", "../x", ".hidden", "a/b"])
def test_names_that_are_no_folder(clip):
    with pytest.raises(ConfigError, match="wanted the name of a folder"):
        home_of(clip, "train")


def test_unknown_subset():
    with pytest.raises(ConfigError, match="unknown subset 'easy'"):
        home_of("case1_1", "easy")


def test_pairs_by_ending():
    images = [Path("i/a.png"), Path("i/a_.png"), Path("i/b.png")]
    masks = [Path("m/a_mask.png"), Path("m/b_mask.jpg")]
    names = [(i.stem, m and m.stem) for i, m in pair(images, masks, ["_mask"])]
    assert names == [("a", "a_mask"), ("a_", None), ("b", "b_mask")]
