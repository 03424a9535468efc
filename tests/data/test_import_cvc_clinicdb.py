"""CVC-ClinicDB as distributed becomes clips, and folds of whole sequences."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from sali.config import build, check_config, config_dir
from sali.data.import_cvc_clinicdb import import_cvc_clinicdb
from sali.data.index import index_subset
from sali.errors import ConfigError, DataError, FrameError

LAST = [3, 5, 9, 10, 12]


def pixels(number):
    """A frame and its mask that say which they are; the mask has soft edges, as some have."""
    frame = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    mask = np.zeros((24, 32), np.uint8)
    mask[:number, :9], mask[:number, 9] = 255, 140
    return frame, mask


@pytest.fixture
def source(tmp_path):
    for number in range(1, LAST[-1] + 1):
        for kind, image in zip(("Original", "Ground Truth"), pixels(number), strict=True):
            path = tmp_path / "db" / kind / f"{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return tmp_path / "db"


def composed(name, *overrides):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def folded(root, fold, *more):
    cfg = composed(
        "train",
        "data=cvc_clinicdb",
        "paths.output_dir=out",
        f"data.root={root}",
        f"data.fold={fold}",
        *more,
    )
    check_config(cfg, "train")
    data = build(cfg.data)
    data.index()
    return data


def test_the_table_of_sequences():
    last = composed("import_cvc_clinicdb").last_frames
    assert len(last) == 29 and last[-1] == 612
    assert list(last) == sorted(set(last))


def test_command_writes_the_distributed_pixels_as_clips(source, tmp_path):
    output = tmp_path / "clips"
    overrides = [f"source={source}", f"output={output}", f"last_frames={LAST}"]
    done = subprocess.run(
        [sys.executable, "-m", "sali.data.import_cvc_clinicdb", *overrides],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    clips = index_subset(output, "train")
    assert [(c.name, len(c.frames)) for c in clips] == [
        ("case1_1", 3),
        ("case2_1", 2),
        ("case3_1", 4),
        ("case4_1", 1),
        ("case5_1", 2),
    ]
    numbers = iter(range(1, 13))
    for clip in clips:
        for frame, mask in zip(clip.frames, clip.masks, strict=True):
            expected, soft = pixels(next(numbers))
            np.testing.assert_array_equal(np.asarray(Image.open(frame)), expected)
            np.testing.assert_array_equal(np.asarray(Image.open(mask)), 255 * (soft > 127))
    assert {p.name for p in tmp_path.iterdir()} == {"db", "clips"}


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda s: (s / "Original/7.tif").unlink(), DataError, "holds 11 .* 7 is not there"),
        (
            lambda s: (s / "Original/7.tif").rename(s / "Original/13.tif"),
            DataError,
            "7 is not there",
        ),
        (
            lambda s: Image.new("RGB", (32, 24)).save(s / "Original/13.tif"),
            DataError,
            "13 belongs to no sequence",
        ),
        (
            lambda s: Image.new("L", (9, 9)).save(s / "Ground Truth/7.tif"),
            FrameError,
            "9x9 but its frame",
        ),
        (lambda s: (s / "Original/7.tif").write_bytes(b"x"), FrameError, "cannot read frame"),
        (lambda s: (s / "Original").rename(s / "Frames"), DataError, "no folder .*Original"),
    ],
)
def test_faults_are_named_and_leave_nothing(source, tmp_path, spoil, error, message):
    spoil(source)
    with pytest.raises(error, match=message):
        import_cvc_clinicdb(source, tmp_path / "clips", LAST)
    assert [p.name for p in tmp_path.iterdir()] == ["db"]


def test_an_output_that_is_there_is_kept(source, tmp_path):
    (tmp_path / "clips/TrainDataset/GT/case2_1").mkdir(parents=True)
    with pytest.raises(DataError, match="case2_1 is already there"):
        import_cvc_clinicdb(source, tmp_path / "clips", LAST)
    with pytest.raises(ConfigError, match="ascending"):
        import_cvc_clinicdb(source, tmp_path / "other", [3, 3, 12])


def test_every_sequence_is_tested_in_exactly_one_fold(source, tmp_path):
    root = tmp_path / "clips"
    import_cvc_clinicdb(source, root, LAST)
    tested = []
    for fold in range(3):
        data = folded(root, fold, "data.folds=3")
        parts = [data.train_clips, data.val_clips, data.test_clips["fold"]]
        names = [clip.name for part in parts for clip in part]
        assert sorted(names) == [f"case{n}_1" for n in range(1, 6)]
        assert all(parts)
        tested += [clip.name for clip in data.test_clips["fold"]]
        # Another training seed holds out other sequences, but tests the same.
        other = folded(root, fold, "data.folds=3", "seed=7")
        assert other.test_clips == data.test_clips
        assert data.provenance()["tested"] == [c.name for c in data.test_clips["fold"]]
    assert sorted(tested) == [f"case{n}_1" for n in range(1, 6)]


def test_clips_of_a_case_stay_together_across_published_subsets(source, tmp_path):
    root = tmp_path / "clips"
    import_cvc_clinicdb(source, root, LAST)
    seen = root / "TestEasyDataset/Seen"
    for kind in ("Frame", "GT"):
        (seen / kind).mkdir(parents=True)
        (root / f"TrainDataset/{kind}/case3_1").rename(seen / kind / "case3_1")
        (root / f"TrainDataset/{kind}/case2_1").rename(seen / kind / "case1_2")
    for fold in range(2):
        data = folded(root, fold, "data.folds=2")
        test = {clip.case for clip in data.test_clips["fold"]}
        rest = {clip.case for clip in (*data.train_clips, *data.val_clips)}
        assert not test & rest and test | rest == {"case1", "case3", "case4", "case5"}
        assert data.provenance()["fingerprint"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.fold=5", "data.fold is 5; wanted 0 to 4"),
        ("data.folds=6", "cannot deal 5 cases into 6 folds"),
        ("data.test_subsets=[seen_easy]", "with folds it is .fold."),
        ("data.selection=seen_hard", "must not choose the checkpoint"),
    ],
)
def test_folds_that_cannot_be(source, tmp_path, override, message):
    import_cvc_clinicdb(source, tmp_path / "clips", LAST)
    with pytest.raises(ConfigError, match=message):
        folded(tmp_path / "clips", 0, override)
