"""A score from outside is one function and one entry, and appears wherever scores do."""

import json
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from made_trees import make_clips, read_csv, run_evaluate, save, score

from sali.config import check_config, config_dir
from sali.errors import ConfigError, FrameError
from sali.evaluate import settings_from
from sali.evaluation import Settings
from sali.metrics.clinical import ClipTally
from sali.metrics.frame_metric import FRAME_METRICS, FrameMetric

OUTSIDE = Path(__file__).parents[1] / "outside"
LENGTHS = (3, 5)


def hausdorff(prediction, mask, level=128):
    sys.path.insert(0, str(OUTSIDE))
    try:
        from outside_package.metrics import hausdorff as function
    finally:
        sys.path.remove(str(OUTSIDE))
    return function(prediction, mask, level)


@pytest.fixture
def trees(tmp_path):
    """One clip is missed by two pixels, the other by four; a frame of it has no polyp."""
    gt = make_clips(tmp_path / "gt", LENGTHS)
    pred = make_clips(tmp_path / "pred", LENGTHS[:1], shift=2)
    make_clips(pred, LENGTHS[1:], shift=4, first=2)
    save(gt / "case2_1/image10.png", np.zeros((24, 32), np.uint8))
    return gt, pred


def expected_of(trees):
    """Distances by clip and frame, by the function itself."""
    gt, pred = trees
    return {
        clip.name: {
            path.stem: hausdorff(
                cv2.imread(str(pred / clip.name / path.name), cv2.IMREAD_GRAYSCALE),
                cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 128,
            )
            for path in sorted(clip.iterdir())
        }
        for clip in sorted(gt.iterdir())
    }


def test_it_is_in_every_file_and_table(trees, tmp_path):
    done = run_evaluate(
        *("--config-dir", OUTSIDE / "configs"),
        *(f"gt={trees[0]}", f"pred={trees[1]}", f"output={tmp_path / 'out'}", "protocol=both"),
        *("metrics=hausdorff", "num_workers=2", "report.figures=false", "name=mine"),
        more_path=OUTSIDE,
    )
    assert done.returncode == 0, done.stderr
    expected = expected_of(trees)
    frames = read_csv(tmp_path / "out/frames.csv")
    assert len(frames) == sum(LENGTHS)
    for row in frames:
        value = expected[row["clip"]][row["frame"]]
        assert row["hausdorff"] == ("" if value is None else str(value))
    means = {
        clip: np.mean([value for value in own.values() if value is not None])
        for clip, own in expected.items()
    }
    for row in read_csv(tmp_path / "out/clips.csv"):
        assert float(row["hausdorff"]) == pytest.approx(means[row["clip"]])
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    value = metrics["frame_metrics"]["subsets"]["all"]["hausdorff"]
    assert value == pytest.approx(np.mean(list(means.values())))
    assert metrics["scores"]["hausdorff"]["direction"] == "lower"
    for name in ("table.md", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert "hausdorff" in text and f"{value:.1f}" in text, name


def test_plain_means_over_frames_have_names_of_their_own(trees, tmp_path):
    found = score(*trees, tmp_path / "out", protocol="both")
    rows = read_csv(tmp_path / "out/frames.csv")
    for name in FRAME_METRICS:
        column = [float(row[name]) for row in rows]
        subset = found["frame_metrics"]["subsets"]["all"]
        assert subset[name] == pytest.approx(np.mean(column), abs=1e-12)
    empty = next(row for row in rows if row["polyp_pixels"] == "0")
    assert float(empty["frame_dice_at_0.5"]) == 0 and empty["dice_at_0.5"] == ""
    # Clips of 3 and 5 frames, of which one is left out: three different means.
    assert subset["frame_dice_at_0.5"] != found["clinical"]["subsets"]["all"]["dice_at_0.5"]


def test_methods_are_compared_by_it(trees, tmp_path):
    gt, pred = trees
    (tmp_path / "methods").mkdir()
    pred.rename(tmp_path / "methods/far")
    make_clips(tmp_path / "methods/near", LENGTHS, shift=1)
    metrics = {"hausdorff": FrameMetric(hausdorff, direction="lower")}
    found = score(gt, tmp_path / "methods", tmp_path / "out", reference="near", metrics=metrics)
    (difference,) = found["differences"]
    near, far = (found["methods"][m]["frame_metrics"]["subsets"]["all"] for m in ("near", "far"))
    interval = difference["intervals"]["hausdorff"]
    assert interval["difference"] == pytest.approx(far["hausdorff"] - near["hausdorff"])
    assert 0 < interval["low"] <= interval["difference"] <= interval["high"]


def test_other_arguments_are_scored_again(trees, tmp_path, monkeypatch):
    values = []
    for level in (128, 250):
        function = partial(hausdorff, level=level)
        settings = {"metrics": {"hausdorff": FrameMetric(function)}, "protocol": "clinical"}
        with monkeypatch.context() as patched:
            patched.setattr("sali.evaluation.run.shutil.rmtree", lambda path: None)
            found = score(*trees, tmp_path / "out", **settings)
        assert (tmp_path / "out/.partial").is_dir()
        values.append(found["frame_metrics"]["subsets"]["all"]["hausdorff"])
    assert values[0] < values[1]


def test_stored_sums_of_another_version_are_not_read(monkeypatch):
    before = Settings(protocol="both").clip_key
    names = [*fields(ClipTally), SimpleNamespace(name="num_new")]
    monkeypatch.setattr("sali.evaluation.settings.fields", lambda kind: names)
    assert Settings(protocol="both").clip_key != before


def failing(prediction, mask):
    raise ZeroDivisionError("no reason")


def test_a_function_that_fails_is_named_with_the_file(trees, tmp_path):
    with pytest.raises(FrameError, match=r"metrics\.broken .*case1_1.*ZeroDivisionError"):
        score(*trees, tmp_path / "out", metrics={"broken": FrameMetric(failing)})


@pytest.mark.parametrize("name", ["dice_max", "dice_at_0.5", "frame_mae"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        Settings(metrics={name: FrameMetric(hausdorff)})


def test_a_plain_function_is_enough():
    target = "sali.metrics.frame_metric.frame_mae"
    given = ["gt=a", "pred=b", "output=c", f"+metrics.mine._target_={target}"]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("evaluate", overrides=[*given, "+metrics.mine._partial_=true"])
    check_config(cfg, "evaluate")
    metric = settings_from(cfg).metrics["mine"]
    assert metric.over == "clips" and metric.function(np.zeros((2, 2), np.uint8), np.eye(2) > 0)


def test_masks_are_polyp_above_128(tmp_path):
    mask = np.zeros((24, 32), np.uint8)
    mask[4:8, 4:8], mask[4:8, 8:12], mask[4:8, 12:16], mask[4:8, 16:20] = 127, 128, 129, 255
    prediction = np.where(mask > 128, 255, 0).astype(np.uint8)
    for frame in range(3):
        save(tmp_path / f"gt/case1_1/{frame}.png", mask)
        save(tmp_path / f"pred/case1_1/{frame}.png", prediction)
    found = score(tmp_path / "gt", tmp_path / "pred", tmp_path / "out", protocol="both")
    assert found["frame_metrics"]["subsets"]["all"]["frame_dice_at_0.5"] == 1
    assert {row["polyp_pixels"] for row in read_csv(tmp_path / "out/frames.csv")} == {"32"}
