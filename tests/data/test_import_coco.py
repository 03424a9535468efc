"""COCO files of annotation tools become stills or a clip."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sali.config import config_dir
from sali.data.frames import read_mask
from sali.data.import_coco import import_coco
from sali.data.importing import Writing, home_of
from sali.data.index import index_clip
from sali.errors import ConfigError, DataError, FrameError

coco = pytest.importorskip("pycocotools.mask")

HEIGHT, WIDTH = 24, 32


def box(x, y, w, h):
    """The polygon of a box, and its pixels."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[y : y + h, x : x + w] = 1
    return [x, y, x + w, y, x + w, y + h, x, y + h], pixels


POLYGON, MARKED = box(4, 2, 10, 8)
OTHER, MORE = box(20, 12, 6, 6)


def run_lengths(pixels):
    flat = pixels.flatten(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    return np.diff([0, *changes, flat.size]).tolist()


def compressed(pixels):
    return {
        "size": [HEIGHT, WIDTH],
        "counts": coco.encode(np.asfortranarray(pixels))["counts"].decode(),
    }


def exported():
    """As CVAT and Label Studio write it: ids from 1, paths and slashes of their own."""
    names = ["frame_10.png", "frame_9.png", "images\\1\\frame_11.png", "sub/frame_12.png"]
    images = [
        {"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for n, name in enumerate(names, 1)
    ]
    shapes = [
        (1, 1, [POLYGON, OTHER]),
        (2, 1, {"size": [HEIGHT, WIDTH], "counts": run_lengths(MARKED)}),
        (3, 1, compressed(MORE)),
        (3, 1, [POLYGON]),
        (3, 2, [OTHER]),
    ]
    annotations = [
        {"id": n, "image_id": image, "category_id": category, "segmentation": shape}
        for n, (image, category, shape) in enumerate(shapes, 1)
    ]
    categories = [{"id": 1, "name": "polyp"}, {"id": 2, "name": "instrument"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def folder(tmp_path):
    for n in (9, 10, 11):
        path = tmp_path / f"frames/frame_{n}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (n, n, n)).save(path)
    (tmp_path / "frames/sub").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "frames/sub/frame_12.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "frames/frame_13.png")
    return tmp_path


def imported(folder, content, categories=("polyp",), clip="case1_1"):
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    home = home_of(clip, "train")
    output = folder / "data"
    import_coco(path, folder / "frames", output, home, categories, Writing(None, 95))
    return index_clip(output / home.frames, "train", output / home.masks)


def test_polygons_and_both_forms_of_run_lengths(folder, caplog):
    with caplog.at_level("INFO"):
        clip = imported(folder, exported())
    assert clip.stems == ("frame_9", "frame_10", "frame_11", "frame_12")
    expected = [MARKED, MARKED | MORE, MARKED | MORE, 0 * MARKED]
    for mask, pixels in zip(clip.masks, expected, strict=True):
        np.testing.assert_array_equal(read_mask(mask), pixels.astype(bool))
    assert "1 of 4 images have no annotation and show no polyp" in caplog.text
    assert "passed over 1 annotations of category instrument" in caplog.text
    assert "1 images that instances.json does not list" in caplog.text


def test_all_categories_may_be_polyps(folder):
    clip = imported(folder, exported(), categories=None, clip=None)
    assert read_mask(clip.masks[2]).sum() == MARKED.sum() + MORE.sum()


def changed(**changes):
    def spoil(content):
        for name, entry in changes.items():
            content[name][0] = {**content[name][0], **entry}

    return spoil


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (changed(images={"file_name": "a/b.png"}), DataError, "1 of 4 listed images .* a/b.png"),
        (changed(images={"width": 9}), FrameError, r"24x32 .*annotations say 24x9"),
        (changed(images={"id": 2}), DataError, "an id of its own"),
        (changed(images={"file_name": "frame_9.png"}), DataError, "would both be"),
        (changed(annotations={"image_id": 7}), DataError, "annotation 1 is of image 7"),
        (changed(annotations={"category_id": 7}), DataError, r"category 7.*1 \(polyp\), 2"),
        (changed(annotations={"segmentation": []}), DataError, "1 has no segmentation"),
        (
            changed(annotations={"image_id": 4, "segmentation": [[90, 90, 99, 90, 99, 99]]}),
            FrameError,
            r"frame_12.png: got annotations \(1\) that mark no pixel",
        ),
        (changed(annotations={"segmentation": [[1, 1, 5, 5]]}), DataError, "fewer than 3 points"),
        (
            changed(annotations={"segmentation": {"counts": [3], "size": [HEIGHT, WIDTH]}}),
            DataError,
            "run lengths of 3 pixels",
        ),
        (
            changed(annotations={"segmentation": {"counts": "b!", "size": [HEIGHT, WIDTH]}}),
            FrameError,
            "cannot read annotation 1",
        ),
        (
            changed(annotations={"segmentation": {"counts": "11", "size": [9, 9]}}),
            FrameError,
            "annotation 1 has run lengths of size",
        ),
        (
            changed(annotations={"segmentation": {"counts": [800, -32], "size": [HEIGHT, WIDTH]}}),
            DataError,
            "not numbers of pixels",
        ),
        (
            changed(annotations={"segmentation": {"counts": [768], "size": HEIGHT}}),
            DataError,
            "run lengths of size 24",
        ),
        (changed(annotations={"segmentation": [7, 8]}), DataError, "no polygons"),
        (
            changed(annotations={"segmentation": [[1, 1, 5, 5, 1e12, 2]]}),
            DataError,
            "not pairs of numbers",
        ),
        (changed(annotations={"image_id": [1]}), DataError, r"\[0\] has image_id '\[1\]'"),
        (changed(images={"file_name": ["a"]}), DataError, r"\[0\] has file_name"),
        (lambda c: c.pop("categories"), DataError, "no list 'categories'"),
        (lambda c: c["images"][1].pop("file_name"), DataError, r"images\[1\] has no 'file_name'"),
        (lambda c: c["images"].clear() or c["annotations"].clear(), DataError, "lists 0 images"),
    ],
)
def test_faults_are_named_and_leave_nothing(folder, spoil, error, message):
    content = exported()
    spoil(content)
    with pytest.raises(error, match=message) as caught:
        imported(folder, content)
    assert "\n" not in str(caught.value)
    assert {p.name for p in folder.iterdir()} == {"frames", "instances.json"}


def test_an_unknown_category_and_a_name_that_two_images_have(folder):
    with pytest.raises(ConfigError, match=r"'lesion'.* has instrument, polyp"):
        imported(folder, exported(), categories=["lesion"])
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "frames/sub/frame_11.png")
    with pytest.raises(DataError, match="may be .*frame_11.png or .*frame_11.png"):
        imported(folder, exported())


def test_the_command_fails_in_one_line(folder):
    def run(text):
        (folder / "instances.json").write_text(text)
        return subprocess.run(
            [
                *(sys.executable, "-m", "sali.data.import_coco"),
                *("annotations=instances.json", "images=frames", "output=data"),
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(config_dir()).parent)},
        )

    assert run(json.dumps(exported())).returncode == 0
    assert len(list((folder / "data/stills/masks").iterdir())) == 4
    done = run("[1, 2")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "is not JSON" in done.stderr
    assert len(done.stderr.splitlines()) == 1
