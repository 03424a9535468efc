"""Which cases are trained on, held out or tested."""

import json
import os
from itertools import groupby

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from sali.config import build, config_dir
from sali.data.index import Clip
from sali.data.split import deal_cases, divide, hold_out_cases, read_split, split_of
from sali.errors import ConfigError, DataError


def clips_of(*names):
    return [Clip(name, "train", (), ()) for name in names]


TWO_EACH = clips_of(*(f"case{c}_{s}" for c in range(1, 11) for s in (1, 2)))


def test_whole_cases_are_held_out():
    train, held = hold_out_cases(TWO_EACH, 0.2, seed=3)
    assert len({c.case for c in held}) == 2
    assert not {c.case for c in train} & {c.case for c in held}
    assert len(train) + len(held) == len(TWO_EACH)
    assert hold_out_cases(TWO_EACH, 0.2, seed=3) == (train, held)
    assert any(hold_out_cases(TWO_EACH, 0.2, seed=s)[1] != held for s in range(5))
    with pytest.raises(ConfigError, match=r"2 clips.*up to the first _.*data.split=FILE"):
        hold_out_cases(TWO_EACH[:2], 0.2, seed=3)


def test_folds_share_no_case_and_leave_none_out():
    folds = deal_cases(TWO_EACH, 3, seed=1)
    cases = [{clip.case for clip in fold} for fold in folds]
    assert sum(map(len, cases)) == 10 and len(set.union(*cases)) == 10
    assert sum(map(len, folds)) == len(TWO_EACH)


@pytest.mark.parametrize(
    "text",
    [
        "case1: train\ncase2: held_out  # by hand\n'03': test\n",
        '{"case1": "train", "case2": "held_out", "03": "test"}',
        json.dumps({"data": {"split": {"case1": "train", "case2": "held_out", "03": "test"}}}),
    ],
)
def test_yaml_json_and_the_record_of_a_run_say_the_same(tmp_path, text):
    path = tmp_path / "split"
    path.write_text(text)
    split = read_split(path)
    assert split == {"case1": "train", "case2": "held_out", "03": "test"}
    clips = clips_of("case1_1", "case1_2", "case2_1", "03_7")
    parts = divide(clips, split)
    names = {part: [c.name for c in found] for part, found in parts.items()}
    assert names == {"train": ["case1_1", "case1_2"], "held_out": ["case2_1"], "test": ["03_7"]}
    assert split_of(parts) == split


def test_clips_of_one_case_may_be_divided_by_name():
    clips = clips_of("video_1", "video_2", "other_1", "other_2")
    split = {"video_1": "train", "video_2": "held_out", "other": "train"}
    parts = divide(clips, split)
    assert [c.name for c in parts["train"]] == ["video_1", "other_1", "other_2"]
    assert split_of(parts) == split


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case1: train\ncase1: held_out", "names case1 twice"),
        ('{"case1": "train", "case1": "train"}', "names case1 twice"),
        ("case1:", "no part for case1"),
        ("case1: [train]", "no part for case1"),
        ("train", "holds no `case: part`"),
        ("", "holds no `case: part`"),
        ("case1: {train", "cannot read"),
    ],
)
def test_files_that_are_no_split(tmp_path, text, message):
    path = tmp_path / "split.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_split(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no file"):
        read_split(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"a": "train"}, "says nothing of b_1, b_2"),
        ({"a": "train", "b_1": "test"}, "says nothing of b_2"),
        ({"a": "train", "b": "test", "c": "test"}, "names c, which .* a, b"),
        ({"a": "train", "b": "test", "b_1": "train"}, "clip b_1 and its case b"),
        ({"a": "test", "b": "held_out"}, "wanted train among them"),
        ({"a": "train", "b": "seen_easy"}, "name of a published subset"),
    ],
)
def test_splits_that_do_not_fit_the_data(split, message):
    with pytest.raises(DataError, match=message):
        divide(clips_of("a_1", "b_1", "b_2"), split)


def index(root, *overrides):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[f"data.root={root}", *overrides])
    data = build(cfg.data)
    data.index()
    return data


@pytest.fixture
def root(tmp_path):
    for case in range(1, 7):
        for kind in ("Frame", "GT"):
            folder = tmp_path / f"data/TrainDataset/{kind}/case{case}_1"
            folder.mkdir(parents=True)
            Image.new("L", (8, 8)).save(folder / "1.png")
    return tmp_path / "data"


def test_a_training_follows_the_split_and_records_it(root, tmp_path, caplog):
    parts = ["train", "train", "held_out", "test", "test", "reserve"]
    path = tmp_path / "split.yaml"
    path.write_text("\n".join(f"case{n}: {part}" for n, part in enumerate(parts, 1)))
    with caplog.at_level("INFO"):
        data = index(root, f"data.split={path}", "data.test_subsets=[test]")
    found = {"train": data.train_clips, "held_out": data.val_clips, **data.test_clips}
    for part, numbers in groupby(range(1, 6), key=lambda n: parts[n - 1]):
        assert [clip.name for clip in found[part]] == [f"case{n}_1" for n in numbers]
    assert "neither trained on nor tested: reserve" in caplog.text
    record = tmp_path / "run.json"
    record.write_text(json.dumps({"data": data.provenance()}))
    again = index(root, f"data.split={record}", "data.test_subsets=[test]")
    assert again.provenance() == data.provenance()


def test_a_random_hold_out_can_be_repeated_under_another_seed(root, tmp_path):
    data = index(root, "data.test_subsets=[]")
    record = tmp_path / "run.json"
    record.write_text(json.dumps({"data": data.provenance()}))
    again = index(root, f"data.split={record}", "data.test_subsets=[]", f"seed={os.getpid()}")
    assert again.val_clips == data.val_clips and again.train_clips == data.train_clips


def test_parts_that_are_asked_for_must_be_there(root, tmp_path):
    path = tmp_path / "split.yaml"
    path.write_text("\n".join(f"case{n}: train" for n in range(1, 7)))
    with pytest.raises(ConfigError, match="has parts train; wanted held_out"):
        index(root, f"data.split={path}")
    with pytest.raises(ConfigError, match="folds divide the cases themselves"):
        index(root, "data=cvc_clinicdb", f"data.split={path}")
