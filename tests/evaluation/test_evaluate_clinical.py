"""What only the clinical report sees: polyp-free clips, time, runs of low-quality frames."""

import logging

import cv2
import numpy as np
import pytest
from made_trees import SHAPE, disk, make_clips, read_csv, save, score

from sali.errors import DataError, FrameError
from sali.metrics.clinical import ClinicalRules


def test_polyp_free_clips_count_in_both_reports_or_only_in_the_clinical(tmp_path, caplog):
    gt = make_clips(tmp_path / "gt")
    make_clips(gt, (6,), polyp=False, first=3)
    pred = make_clips(tmp_path / "pred", (5, 4, 6), shift=1)
    for number in (8, 9):
        save(pred / f"case3_1/image{number}.png", np.zeros(SHAPE, np.uint8))
    caplog.set_level(logging.WARNING)
    counted = score(gt, pred, tmp_path / "a", protocol="both")
    assert counted["clips"]["all"]["case3_1"]["dice_max"] == 0
    assert "1 clips without a polyp" in caplog.text and "polyp_free_clips=skip" in caplog.text
    left = score(gt, pred, tmp_path / "b", protocol="both", polyp_free_clips="skip")
    assert list(left["clips"]["all"]) == ["case1_1", "case2_1"]
    assert left["left_out"]["all"] == {"case3_1": "free of polyps"}
    assert left["clinical"] == counted["clinical"]
    clinical = left["clinical"]["subsets"]["all"]
    assert clinical["frame_specificity"] == pytest.approx(2 / 6)
    assert clinical["false_alarms"] == 1
    assert clinical["false_alarm_seconds_max"] == pytest.approx(4 / 30)


def test_polyp_free_frames_need_no_masks(tmp_path):
    gt = make_clips(tmp_path / "gt")
    pred = make_clips(tmp_path / "pred", shift=1)
    plain = score(gt, pred, tmp_path / "plain", protocol="both")
    for frame in range(4):
        save(tmp_path / "free/empty1" / f"{frame}.jpg", np.full((*SHAPE, 3), 90, np.uint8))
        prediction = disk(9, 9, 4) if frame == 2 else np.zeros(SHAPE, np.uint8)
        save(pred / "polyp_free/empty1" / f"{frame}.png", prediction)
    with pytest.raises(DataError, match=r"1 extra \(.*polyp_free\)"):
        score(gt, pred, tmp_path / "out", protocol="both")
    found = score(gt, pred, tmp_path / "out", protocol="both", polyp_free=tmp_path / "free")
    assert found["subsets"] == plain["subsets"]
    clinical = found["clinical"]["subsets"]
    matched = {name for name in clinical["all"] if "_at_alarm_rate_" in name}
    assert len(matched) == 6 and None not in {clinical["all"][name] for name in matched}
    for name, value in plain["clinical"]["subsets"]["all"].items():
        assert value is None if name in matched else value == clinical["all"][name]
    assert clinical["polyp_free"]["frame_specificity"] == 0.75
    assert clinical["polyp_free"]["false_positive_frames_per_minute"] == pytest.approx(30 * 60 / 4)
    assert clinical["polyp_free"]["dice_at_0.5"] is None


def test_rules_reach_the_scores_and_their_names(tmp_path):
    gt, pred = make_clips(tmp_path / "gt"), make_clips(tmp_path / "pred", shift=1)
    for path in pred.rglob("*.png"):
        save(path, cv2.imread(str(path), 0) // 4)
    rules = ClinicalRules(threshold=0.125, frames_per_second=10, detection_iou=0)
    low = score(gt, pred, tmp_path / "a", protocol="both", clinical=rules)["clinical"]
    assert low["rules"]["threshold"] == 0.125
    assert low["subsets"]["all"]["dice_at_0.125"] > 0.7
    usual = score(gt, pred, tmp_path / "b", protocol="both")
    assert usual["clinical"]["subsets"]["all"]["dice_at_0.5"] == 0
    assert usual["subsets"]["all"]["dice_max"] > 0.7, "hidden by min-max"


def test_clips_may_have_rates_of_their_own(tmp_path):
    gt = make_clips(tmp_path / "gt")
    make_clips(gt, (6,), polyp=False, first=3)
    pred = make_clips(tmp_path / "pred", (5, 4, 6), shift=1)
    usual = score(gt, pred, tmp_path / "a", protocol="both")["clinical"]
    (gt / "fps.csv").write_text("clip,fps\ncase3_1,10\n")
    found = score(gt, pred, tmp_path / "b", protocol="both")["clinical"]
    assert found["rules"]["own_fps"] == {"case3_1": 10} and not usual["rules"]["own_fps"]
    for fps, scores in ((30, usual["subsets"]["all"]), (10, found["subsets"]["all"])):
        assert scores["false_alarm_seconds_mean"] == pytest.approx(6 / fps)
        assert scores["false_alarm_seconds_max"] == pytest.approx(6 / fps)
        assert scores["false_alarms_per_minute"] == pytest.approx(60 * fps / 6)
        assert scores["false_positive_frames_per_minute"] == pytest.approx(60 * fps)
    assert "of 1 clips at their own rate" in (tmp_path / "b/table.md").read_text()
    (gt / "fps.csv").write_text("clip,fps\ncase3_2,10\n")
    with pytest.raises(DataError, match="row 2: there is no clip case3_2"):
        score(gt, pred, tmp_path / "c", protocol="both")


def test_a_size_that_changes_within_a_clip(tmp_path):
    gt, pred = make_clips(tmp_path / "gt"), make_clips(tmp_path / "pred", shift=1)
    save(gt / "case1_1/image9.png", np.full((10, 10), 255, np.uint8))
    with pytest.raises(FrameError, match=r"case1_1/image9.png: masks: got shapes"):
        score(gt, pred, tmp_path / "out", protocol="clinical")


@pytest.fixture
def filmed(tmp_path):
    """A SUN-SEG subset folder whose first clip goes blind for six of twelve frames."""
    lengths = (12, 4)
    root = tmp_path / "Unseen"
    make_clips(root / "GT", lengths)
    pred = make_clips(tmp_path / "pred", lengths, shift=1)
    noise = np.random.default_rng(0).integers(90, 160, (*SHAPE, 3)).astype(np.uint8)
    for mask in (root / "GT").rglob("*.png"):
        position = int(mask.stem.removeprefix("image")) - 8
        is_dark = mask.parent.name == "case1_1" and 3 <= position < 9
        frame = root / "Frame" / mask.parent.name / f"{mask.stem}.png"
        save(frame, noise // 8 if is_dark else noise)
    return root, pred


def test_runs_of_low_quality_frames(filmed, tmp_path):
    gt, pred = filmed
    for position in (5, 6):
        save(pred / f"case1_1/image{8 + position}.png", np.zeros(SHAPE, np.uint8))
    found = score(gt, pred, tmp_path / "out", protocol="both", quality=True)
    plain = score(gt, pred, tmp_path / "plain", protocol="both")
    assert found["subsets"] == plain["subsets"] and found["clinical"] == plain["clinical"]
    rows = read_csv(tmp_path / "out/frames.csv")
    low = [row for row in rows if row["low_quality"] == "1"]
    assert [int(row["index"]) for row in low] == [3, 4, 5, 6, 7, 8]
    assert {row["clip"] for row in low} == {"case1_1"}
    assert all("dark" in row["broken_limits"] for row in low)
    scores = found["low_quality"]["all"]
    assert scores["clips"] == 1
    for name in ("s_measure", "dice_mean", "dice_at_0.5"):
        assert scores[name] == pytest.approx(np.mean([float(row[name]) for row in low]))
    assert scores["frame_sensitivity"] == pytest.approx(4 / 6)
    assert "# VPS protocol, runs of low-quality frames" in (tmp_path / "out/table.md").read_text()
    none = score(gt, pred, tmp_path / "none", quality=True, min_run=7)
    assert none["low_quality"] == {}
    runs = read_csv(tmp_path / "out/runs.csv")
    assert [(r["clip"], r["first"], r["last"], r["frames"]) for r in runs] == [
        ("case1_1", "image11", "image16", "6")
    ]


def test_frames_that_are_missing_or_unreadable(filmed, tmp_path):
    gt, pred = filmed
    frame = gt / "Frame/case2_1/image8.png"
    whole = frame.read_bytes()
    frame.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot read frame .*image8.png"):
        score(gt, pred, tmp_path / "out", quality=True)
    frame.unlink()
    with pytest.raises(DataError, match=r"1 masks of .* have no frame in .*e.g. image8"):
        score(gt, pred, tmp_path / "out", quality=True)
    frame.write_bytes(whole)
    (gt / "Frame").rename(tmp_path / "frames")
    with pytest.raises(DataError, match=r"say where they are with frames=DIR"):
        score(gt, pred, tmp_path / "out", quality=True)
    score(gt, pred, tmp_path / "out", quality=True, frames=tmp_path / "frames")
