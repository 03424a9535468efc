"""Figures of an evaluation: all are there, and they show what the files say."""

import logging

import cv2
import numpy as np
import pytest
from made_trees import SHAPE, disk, make_clips, read_csv, save
from pages import options

from sali.evaluation import Bootstrap, Settings, run_evaluation
from sali.report import frames, plots
from sali.report.page import report_evaluation
from sali.report.style import ALERT

DARK = range(3, 9)
NAMES = ("dice_over_threshold", "precision_recall", "dice_over_time", "calibration", "intervals")


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """Masks, bright frames with a dark run in the first clip, and maps with faults."""
    root = tmp_path_factory.mktemp("filmed")
    make_clips(root / "gt/GT", (12, 5))
    make_clips(root / "pred", (12, 5), shift=1)
    noise = np.random.default_rng(0).integers(90, 160, (*SHAPE, 3)).astype(np.uint8)
    for clip, length in (("case1_1", 12), ("case2_1", 5)):
        for frame in range(length):
            is_dark = clip == "case1_1" and frame in DARK
            image = noise // 16 if is_dark else noise
            save(root / f"gt/Frame/{clip}/image{frame + 8}.png", image)
    # From worst to best: two that mark nothing at 0.5, one of them faint; one off the polyp.
    save(root / "pred/case1_1/image12.png", np.zeros(SHAPE, np.uint8))
    save(root / "pred/case2_1/image10.png", disk(11, 15, 6) // 4)
    save(root / "pred/case1_1/image17.png", disk(16, 21, 6))
    return root / "gt", root / "pred"


@pytest.fixture
def calls(monkeypatch):
    """Arguments of everything that is drawn, by file name; nothing is written."""
    found = {}
    drawn = {}

    def record(module, name):
        real = getattr(module, name)

        def note(*arguments, **more):
            figure = real(*arguments, **more)
            drawn[id(figure)] = (name, figure, arguments)
            return figure

        monkeypatch.setattr(module, name, note)

    for name in NAMES:
        record(plots, name)
    record(frames, "worst_frames")

    def keep(figure, stem):
        found[stem.name] = drawn[id(figure)][2]

    monkeypatch.setattr("sali.report.figures.save", keep)
    monkeypatch.setattr("sali.report.frames.save", keep)
    return found


def draw(gt, pred, output, *overrides, **settings):
    done = run_evaluation(gt, pred, output, Settings(**{"num_workers": 1, **settings}))
    report_evaluation(done, options("report.enabled=false", *overrides))
    return done.metrics


def stems(folder):
    """Figures in a folder, each of which must be there as PNG and as PDF."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {p.suffix for p in found} == {".png", ".pdf"}
    names = {str(path.with_suffix("")) for path in found}
    assert len(found) == 2 * len(names)
    return names


def shaded(path):
    """Number of pixels in the pale colour of bad runs."""
    alert = np.array([int(ALERT[i : i + 2], 16) for i in (5, 3, 1)])
    pale = 255 + 0.2 * (alert - 255.0)
    return int((np.abs(cv2.imread(str(path)) - pale).max(axis=2) < 4).sum())


def test_one_method(filmed, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    draw(*filmed, tmp_path, "report.worst_frames=2", protocol="both", quality=True)
    over_time = {f"dice_over_time/all/{clip}" for clip in ("case1_1", "case2_1")}
    whole = {"dice_over_threshold_all", "precision_recall_all", "reliability_all"}
    assert stems(tmp_path / "figures") == over_time | whole | {"worst_frames_all"}
    assert str(tmp_path / "figures") in caplog.messages[-1]
    clips = tmp_path / "figures/dice_over_time/all"
    # Half of the 12 frames; some colour of the legend's patch is all that a page has besides.
    assert shaded(clips / "case1_1.png") > 50_000
    assert shaded(clips / "case2_1.png") == 0


def test_they_show_what_the_files_say(filmed, tmp_path, calls):
    draw(*filmed, tmp_path, "report.worst_frames=4", protocol="both", quality=True)
    rows = read_csv(tmp_path / "frames.csv")
    title, dice, runs, has_polyp, metric = calls["case1_1"]
    assert "all/case1_1" in title and metric == "dice_at_0.5"
    own = [row for row in rows if row["clip"] == "case1_1"]
    assert dice.tolist() == [float(row["dice_at_0.5"]) for row in own]
    assert runs == [(DARK.start, DARK.stop)] and has_polyp.all()
    assert calls["case2_1"][2] == []
    (items,) = calls["worst_frames_all"]
    ranked = sorted(rows, key=lambda row: float(row["dice_at_0.5"]))
    assert len(items) == 4
    for item, row in zip(items, ranked, strict=False):
        assert item.title.startswith(f"{row['clip']} {row['frame']}\n")
        assert f"dice_at_0.5 {float(row['dice_at_0.5']):.3f}" in item.title
    assert [item.title.split("\n")[0] for item in items[:3]] == [
        *("case1_1 image12", "case2_1 image10", "case1_1 image17")
    ]
    assert "peak 0.25" in items[1].title
    frame = cv2.imread(str(filmed[0] / "Frame/case2_1/image10.png"))[..., ::-1]
    mask = cv2.imread(str(filmed[0] / "GT/case2_1/image10.png"), 0)
    np.testing.assert_array_equal(items[1].frame, frame)
    np.testing.assert_array_equal(items[1].mask, mask > 128)
    np.testing.assert_array_equal(items[1].prediction, disk(11, 15, 6) // 4)
    with np.load(tmp_path / "curves.npz") as curves:
        drawn, thresholds, title = calls["dice_over_threshold_all"]
        np.testing.assert_array_equal(drawn["pred"], curves["all/dice"])
        np.testing.assert_array_equal(thresholds, curves["thresholds"])
        assert "stretched" in title
        drawn, title = calls["precision_recall_all"]
        np.testing.assert_array_equal(drawn["pred"][0], curves["all/precision"])
        np.testing.assert_array_equal(drawn["pred"][1], curves["all/sensitivity"])
        assert "stretched" in title
        np.testing.assert_array_equal(calls["reliability_all"][0]["pred"], curves["all/pixels"])


def test_clips_take_turns_among_equals(tmp_path, calls):
    make_clips(tmp_path / "gt", (4, 4))
    for clip in ("case1_1", "case2_1"):
        for frame in range(4):
            save(tmp_path / f"pred/{clip}/image{frame + 8}.png", np.zeros(SHAPE, np.uint8))
    paths = tmp_path / "gt", tmp_path / "pred", tmp_path / "out"
    draw(*paths, "report.worst_frames=3", protocol="clinical")
    (items,) = calls["worst_frames_all"]
    assert [item.title.split("\n")[0] for item in items] == [
        *("case1_1 image8", "case2_1 image8", "case1_1 image9")
    ]
    assert {int(value) for value in np.unique(items[0].frame)} == {0, 90}, "no frames, so masks"
    assert set(calls) == {
        *("worst_frames_all", "case1_1", "case2_1", "reliability_all"),
        "precision_recall_pixels_all",
    }


def test_frames_next_to_the_masks_need_not_be_whole(tmp_path, calls, caplog):
    make_clips(tmp_path / "gt/GT", (5,))
    make_clips(tmp_path / "gt/Frame", (5,))
    frame = tmp_path / "gt/Frame/case1_1/image8.png"
    frame.write_bytes(b"no image")
    make_clips(tmp_path / "pred", (5,), shift=4)
    draw(tmp_path / "gt", tmp_path / "pred", tmp_path / "out", protocol="both")
    assert "image8.png" in caplog.text and "shows its mask" in caplog.text
    assert len(calls["worst_frames_all"][0]) == 5
    frame.unlink()
    draw(tmp_path / "gt", tmp_path / "pred", tmp_path / "out", protocol="both")
    assert "frames for 4 of 5 masks" in caplog.text
    (items,) = calls["worst_frames_all"]
    assert len(items) == 5 and all(set(np.unique(item.frame)) == {0, 90} for item in items)


def test_frames_may_be_elsewhere(filmed, tmp_path, calls):
    folder = filmed[0] / "Frame"
    draw(filmed[0] / "GT", filmed[1], tmp_path, protocol="both", frames=folder)
    frame = cv2.imread(str(folder / "case1_1/image12.png"))[..., ::-1]
    np.testing.assert_array_equal(calls["worst_frames_all"][0][0].frame, frame)


def test_several_methods(filmed, tmp_path, calls, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "methods").mkdir()
    make_clips(tmp_path / "methods/far", (12, 5), shift=3)
    (tmp_path / "methods/near").symlink_to(filmed[1])
    paths = filmed[0], tmp_path / "methods", tmp_path / "out"
    found = draw(*paths, protocol="both", bootstrap=Bootstrap(num_resamples=50))
    whole = ["dice_over_threshold_all", "precision_recall_all", "reliability_all"]
    for folder in ("figures", "far/figures", "near/figures"):
        assert str(tmp_path / "out" / folder) in caplog.messages[-1]
    for name in whole:
        assert list(calls[name][0]) == ["far", "near"]  # drawn after those of each method
    scores, metric, bars = calls["comparison_all"]
    assert metric == "dice_max" and "95%" in bars
    for name, row in scores.items():
        value, low, high = row["all"]
        clips = [c["dice_max"] for c in found["methods"][name]["clips"]["all"].values()]
        assert value == pytest.approx(found["methods"][name]["subsets"]["all"]["dice_max"], 1e-12)
        assert min(clips) - 1e-9 <= low < high <= max(clips) + 1e-9
    scores, metric, bars, reference, _ = calls["differences_all"]
    interval = found["differences"][0]["intervals"]["dice_max"]
    assert scores["far"] == {"all\nminus near": tuple(interval.values())}
    assert scores["near"]["all\nminus near"][0] == 0, "the reference, in its own colour"
    assert list(scores) == ["far", "near"] and reference == 0


def test_comparison_of_single_clips_has_no_interval(tmp_path, calls):
    make_clips(tmp_path / "gt", (5,))
    for name, shift in (("near", 1), ("far", 3)):
        make_clips(tmp_path / "methods" / name, (5,), shift=shift)
    draw(tmp_path / "gt", tmp_path / "methods", tmp_path / "out")
    scores = calls["comparison_all"][0]
    assert all(row["all"][0] > 0 and np.isnan(row["all"][1:]).all() for row in scores.values())
    assert "differences_all" not in calls


def test_vps_alone_says_what_is_not_drawn(filmed, tmp_path, calls, caplog):
    caplog.set_level(logging.INFO)
    draw(*filmed, tmp_path)
    assert set(calls) == {"dice_over_threshold_all", "precision_recall_all"}
    assert "dice_over_time, worst_frames and reliability need" in caplog.text
    assert "protocol=both draws them" in caplog.text


def test_options(filmed, tmp_path, calls):
    draw(*filmed, tmp_path / "a", "report.worst_frames=0", protocol="both")
    assert calls and "worst_frames_all" not in calls
    calls.clear()
    draw(*filmed, tmp_path / "b", "report.figures=false", protocol="both")
    assert not calls


def test_notes_say_what_is_not_known(filmed, tmp_path):
    draw(*filmed, tmp_path, "report.figures=false", protocol="both", quality=True, min_run=7)
    text = (tmp_path / "table.md").read_text()
    assert "every frame shows a polyp" in text and "polyp_free=DIR" in text
    assert "no run of 7 or more low-quality frames" in text
    assert "raw probabilities at 0.5, all frames; seconds at 30 frames per second" in text
