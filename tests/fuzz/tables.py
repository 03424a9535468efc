"""Text files: splits, COCO annotations, tables of an evaluation."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from fuzz.engine import Case, Kind, WrongError
from fuzz.mutations import Random, changed, damaged
from sali.data.clip_tables import read_attributes, read_runs
from sali.data.import_coco import import_coco
from sali.data.importing import Writing, home_of
from sali.data.index import Clip
from sali.data.split import divide, read_split


def _clips() -> list[Clip]:
    names = ("case1_1", "case1_2", "case2_1", "case3_1")
    frames = tuple(Path(f"image{number}.jpg") for number in range(3))
    return [Clip(name, "TrainDataset", frames, (None,) * 3) for name in names]


def _written(path: Path, tree: Any, form: str, rng: Random) -> None:
    """Write a tree as YAML or JSON after damage to it, to the text, or to both."""
    draw = rng.random()
    if draw < 0.6:
        tree = changed(tree, rng)
    text = json.dumps(tree) if form == "json" else yaml.safe_dump(tree, allow_unicode=True)
    data = text.encode("utf-8", "surrogatepass")
    path.write_bytes(damaged(data, rng) if draw > 0.5 else data)


def _splits(folder: Path) -> Case:
    clips = _clips()
    plain = {"case1": "train", "case2_1": "held_out", "case3": "mine"}
    trees = (plain, {"command": "sali.train", "data": {"split": plain}}, {"split": plain})

    def case(rng: Random) -> None:
        form = ("json", "yaml")[rng.integers(2)]
        path = folder / f"split.{form}"
        _written(path, trees[rng.integers(3)], form, rng)
        split = read_split(path)
        if not all(isinstance(one, str) for pair in split.items() for one in pair):
            raise WrongError(f"a split holds other things than names: {split}")
        parts = divide(clips, split)
        if sorted(c.name for part in parts.values() for c in part) != [c.name for c in clips]:
            raise WrongError("a split does not hold every clip once")

    return case


def _coco(folder: Path) -> Case:
    images, output = folder / "images", folder / "output"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(images / f"frame{number}.png")
    size = {"width": 16, "height": 12}
    whole = {
        "images": [{"id": n, "file_name": f"frame{n}.png", **size} for n in range(3)],
        "categories": [{"id": 1, "name": "polyp"}, {"id": 2, "name": "other"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]},
            {
                **{"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 1},
                "segmentation": {"counts": [20, 30, 142], "size": [12, 16]},
            },
            {
                **{"id": 3, "image_id": 1, "category_id": 2},
                "segmentation": {"counts": "d0n4", "size": [12, 16]},
            },
        ],
    }

    def case(rng: Random) -> None:
        path = folder / "instances.json"
        _written(path, whole, "json", rng)
        home = home_of((None, "clip1")[rng.integers(2)], "train")
        categories = (None, ["polyp"])[rng.integers(2)]
        try:
            import_coco(
                path, images, output, home, categories, Writing((None, 8)[rng.integers(2)], 90)
            )
            if not list(output.rglob("*.png")):
                raise WrongError("an import wrote nothing")
        finally:
            shutil.rmtree(output, ignore_errors=True)
        left = {entry.name for entry in folder.iterdir()} - {"images", "instances.json"}
        if left:
            raise WrongError(f"an import left {left}")

    return case


def _csv(folder: Path) -> Case:
    runs = (
        b"clip,first,last,broken_limits\ncase1_1,image0,image2,blur\ncase2_1,image1,image1,dark\n"
    )
    flags = b"clip,SI,SO\ncase1_1,0,1\ncase1_2,1,0\ncase2_1,0,0\ncase3_1,1,1\n"
    pairs = b"clip,attribute\ncase1_1,SI\ncase1_2,\n"

    def case(rng: Random) -> None:
        path = folder / "table.csv"
        texts = (runs, flags, pairs)
        which = int(rng.integers(3))
        path.write_bytes(damaged(texts[which], rng, texts))
        if which == 0:
            read_runs(path)
        else:
            read_attributes(path)

    return case


SPLITS = Kind(_splits)
COCO = Kind(_coco)
CSV = Kind(_csv)
