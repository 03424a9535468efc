"""Every planted fault is found, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sali.config import config_dir
from sali.data.check import check
from sali.data.synthetic import SyntheticSpec, generate
from sali.data.time_order import places
from sali.errors import ConfigError, DataError

SPEC = SyntheticSpec(
    train_clips=2,
    test_clips_per_subset=1,
    frames_per_clip=4,
    height=64,
    width=80,
    polyp_free_clips=0,
    seed=5,
)
COUNTS = {
    "train": {"clips": 2, "frames": 8},
    "unseen_hard": {"clips": 1, "frames": 4},
}
TRAIN = "TrainDataset"
UNSEEN = "TestHardDataset/Unseen"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("drawn") / "data", SPEC)


@pytest.fixture
def root(drawn, tmp_path):
    return Path(shutil.copytree(drawn, tmp_path / "data"))


def files(root, subset, kind, clip=0):
    folder = sorted((root / subset / kind).iterdir())[clip]
    return sorted(folder.iterdir())


def problems(root, counts=None, polyp_free=None):
    found = check(root, counts, polyp_free, num_workers=1)["problems"]
    return [(p["kind"], p["subset"], p["message"]) for p in found]


def test_a_sound_copy_has_no_problem(root):
    found = check(root, COUNTS, None, num_workers=2)
    assert found["problems"] == []
    assert found["subsets"]["train"] == {
        "clips": 2,
        "frames": 8,
        "published": {"clips": 2, "frames": 8},
        "problems": {},
    }
    assert set(found["subsets"]) == {
        "train",
        "seen_easy",
        "seen_hard",
        "unseen_easy",
        "unseen_hard",
    }


def cut_off(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])


def shrink(path):
    Image.open(path).resize((20, 30)).save(path)


def as_zero_one(path):
    Image.fromarray(np.eye(64, 80, dtype=np.uint8)).save(path)


def invert(path):
    Image.fromarray(255 - np.array(Image.open(path))).save(path)


@pytest.mark.parametrize(
    ("kind", "which", "spoil", "fault"),
    [
        ("GT", 2, Path.unlink, "missing_mask"),
        ("Frame", 2, Path.unlink, "stray_mask"),
        ("Frame", 1, cut_off, "unreadable"),
        ("GT", 1, cut_off, "unreadable"),
        ("GT", 1, as_zero_one, "unreadable"),
        ("Frame", 0, lambda path: (path.unlink(), path.symlink_to("nowhere")), "unreadable"),
        ("GT", 0, shrink, "size"),
        ("GT", 0, invert, "inverted"),
        ("GT", 0, lambda path: shutil.rmtree(path.parent), "clip"),
        ("Frame", 0, lambda path: shutil.rmtree(path.parent), "clip"),
    ],
)
def test_a_planted_fault_is_found_once(root, kind, which, spoil, fault):
    path = files(root, UNSEEN, kind)[which]
    spoil(path)
    ((found, subset, message),) = problems(root)
    assert (found, subset) == (fault, "unseen_hard")
    assert path.stem in message or str(path.parent) in message


def test_counts_that_differ_are_told_with_both_numbers(root):
    for kind in ("Frame", "GT"):
        files(root, UNSEEN, kind)[3].unlink()
        shutil.rmtree(root / "TestEasyDataset/Seen" / kind)
    counts = {**COUNTS, "seen_easy": {"clips": 1, "frames": 4}}
    assert [message for _, _, message in problems(root, counts)] == [
        "seen_easy has 0 clips, published are 1",
        "seen_easy has 0 frames, published are 4",
        "unseen_hard has 3 frames, published are 4",
    ]
    assert problems(root) == []
    with pytest.raises(ConfigError, match="unknown subset 'test'"):
        check(root, {"test": {"clips": 1}}, None, 1)


def test_leaks_between_subsets_are_found_and_still_videos_are_not(root):
    train = files(root, TRAIN, "Frame")
    shutil.copy(train[1], files(root, UNSEEN, "Frame")[2])
    shutil.copy(train[2], train[3])
    ((kind, subset, message),) = problems(root)
    assert (kind, subset) == ("duplicate", "unseen_hard")
    assert str(train[1]) in message and str(files(root, UNSEEN, "Frame")[2]) in message


def test_stills_are_checked_and_must_not_be_test_frames(root):
    for kind, folder in (("Frame", "images"), ("GT", "masks")):
        (root / "stills" / folder).mkdir(parents=True)
        path = files(root, UNSEEN, kind)[1]
        shutil.copy(path, root / "stills" / folder / f"one{path.suffix}")
    assert [(kind, subset) for kind, subset, _ in problems(root)] == [("duplicate", "unseen_hard")]
    (root / "stills/masks/one.png").rename(root / "stills/masks/two.png")
    kinds = {(kind, subset) for kind, subset, _ in problems(root)}
    assert kinds >= {("missing_mask", "stills"), ("stray_mask", "stills")}


def test_a_training_case_among_the_unseen_is_found(root):
    for kind in ("Frame", "GT"):
        (clip,) = (root / UNSEEN / kind).iterdir()
        clip.rename(clip.with_name("case2_9"))
    assert problems(root) == [("case", "unseen_hard", "case2_9: case2 is also in the training set")]


def test_polyp_free_clips_need_no_masks(root):
    free = root / "free"
    (root / UNSEEN / "Frame").rename(free)
    shutil.rmtree(root / UNSEEN)
    counts = {"train": COUNTS["train"], "polyp_free": {"clips": 1, "frames": 5}}
    assert problems(root, counts, free) == [
        ("count", "polyp_free", "polyp_free has 4 frames, published are 5")
    ]
    cut_off(sorted(free.rglob("*.jpg"))[0])
    assert [kind for kind, *_ in problems(root, None, free)] == ["unreadable"]
    assert problems(root, counts) == []  # not asked for


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(DataError, match="no clips in .*wanted the SUN-SEG layout"):
        check(tmp_path, None, None, 1)


def test_shipped_counts_add_up_to_the_published_totals():
    counts = yaml.safe_load((Path(config_dir()) / "check.yaml").read_text())["counts"]
    positive = [number for name, number in counts.items() if name != "polyp_free"]
    assert sum(c["clips"] for c in positive) == 285
    assert sum(c["frames"] for c in positive) == 49136


def test_command_tells_and_fails(root, tmp_path):
    def run(*overrides):
        return subprocess.run(
            [sys.executable, "-m", "sali.data.check", f"root={root}", "output=told", *overrides],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "120"},
        )

    done = run("counts=null", "num_workers=1")
    assert done.returncode == 0, done.stderr
    mask = files(root, UNSEEN, "GT")[0]
    mask.unlink()
    done = run("num_workers=1", "show=3")
    assert done.returncode == 1
    assert "missing_mask: frame" in done.stdout and "more, see check.json" in done.stdout
    told = json.loads((tmp_path / "told/check.json").read_text())
    assert told["subsets"]["unseen_hard"]["problems"] == {"missing_mask": 1, "count": 2}
    assert {path.name for path in tmp_path.iterdir()} == {"data", "told"}


@pytest.mark.parametrize("in_time", [True, False])
def test_frames_numbered_from_a_sorted_listing_are_reported(tmp_path, in_time):
    """A bright spot wanders to and fro over noise that is the frame's own."""
    rng = np.random.default_rng(0)
    place_of = range(45) if in_time else places(45, 4, 3)
    spots = (20 + 15 * np.sin(np.arange(45) / 4)).round().astype(int)
    for time, x in enumerate(spots):
        pixels = rng.integers(0, 20, (40, 48, 3), dtype=np.uint8)
        pixels[10:26, x : x + 8] = 200
        pixels[30 + time // 6 :] += 100
        mask = np.zeros((40, 48), np.uint8)
        mask[10:26, x : x + 8] = 255
        for kind, image in (("Frame", pixels), ("GT", mask)):
            path = tmp_path / f"TrainDataset/{kind}/case1_1/{place_of[time]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    order = {"max_first": 20, "max_step": 5, "min_gain": 0.03}
    found = check(tmp_path, None, None, 1, order)["problems"]
    assert [problem["kind"] for problem in found] == ([] if in_time else ["order"])
    if found:
        assert "case1_1" in found[0]["message"] and "4, 7" in found[0]["message"]
    assert check(tmp_path, None, None, 1)["problems"] == []


def test_masks_may_be_called_frame_mask(root):
    for path in files(root, UNSEEN, "GT"):
        path.rename(path.with_name(f"{path.stem}_mask{path.suffix}"))
    assert problems(root) == []
