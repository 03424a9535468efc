"""Figures of an evaluation: all are there, and they show what the tables say."""

import logging

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from made_trees import SHAPE, disk, make_clips, read_csv, save, score

from sali.config import config_dir
from sali.errors import ConfigError
from sali.evaluation import Bootstrap, Settings
from sali.evaluation.published import other_data
from sali.report import plots
from sali.report.style import ALERT

NAMES = [name for name in plots.__all__ if name.startswith("plot_")]
DARK = range(3, 9)
SHEET = "plot_worst_frames"


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
    # From worst to best: two that mark nothing at 0.5, one of them faint; one beside the polyp.
    save(root / "pred/case1_1/image12.png", np.zeros(SHAPE, np.uint8))
    save(root / "pred/case2_1/image10.png", disk(11, 15, 6) // 4)
    save(root / "pred/case1_1/image17.png", disk(16, 21, 6))
    return root / "gt", root / "pred"


@pytest.fixture
def calls(monkeypatch):
    """What would be drawn, by function and file name; nothing is."""
    found = {}
    for name in NAMES:

        def record(*arguments, _name=name, **options):
            stem = next(a for a in arguments if hasattr(a, "parts"))
            found[_name, stem.name] = (arguments, options)

        monkeypatch.setattr(plots, name, record)
    return found


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
    settings = {"protocol": "both", "quality": True, "worst_frames": 2}
    score(*filmed, tmp_path, figures=True, **settings)
    over_time = {f"dice_over_time/all/{clip}" for clip in ("case1_1", "case2_1")}
    whole = {"dice_over_threshold_all", "precision_recall_all", "reliability_all"}
    assert stems(tmp_path / "figures") == over_time | whole | {"worst_frames_all"}
    line = caplog.messages[-1]
    assert line.startswith("figures in it, as .png and .pdf: figures/: dice_over_threshold_all, ")
    assert all(name in line for name in (*whole, "dice_over_time/all/ (2 clips)"))
    clips = tmp_path / "figures/dice_over_time/all"
    # Half of the 12 frames; some colour of the legend's patch is all that a page has besides.
    assert shaded(clips / "case1_1.png") > 50_000
    assert shaded(clips / "case2_1.png") == 0


def test_they_show_what_the_tables_say(filmed, tmp_path, calls):
    score(*filmed, tmp_path, protocol="both", quality=True, figures=True, worst_frames=4)
    rows = read_csv(tmp_path / "frames.csv")
    (title, dice, _, runs, has_polyp), options = calls["plot_dice_over_time", "case1_1"]
    assert "all/case1_1" in title and options["metric"] == "dice_at_0.5"
    own = [row for row in rows if row["clip"] == "case1_1"]
    assert dice.tolist() == [float(row["dice_at_0.5"]) for row in own]
    assert runs == [(DARK.start, DARK.stop)] and has_polyp.all()
    assert calls["plot_dice_over_time", "case2_1"][0][3] == []
    (items, _), options = calls[SHEET, "worst_frames_all"]
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
    np.testing.assert_array_equal(items[1].mask, mask)
    np.testing.assert_array_equal(items[1].prediction, disk(11, 15, 6) // 4)
    assert options["threshold"] == 0.5
    with np.load(tmp_path / "curves.npz") as curves:
        (drawn, thresholds, _), options = calls[
            "plot_dice_over_threshold", "dice_over_threshold_all"
        ]
        np.testing.assert_array_equal(drawn["pred"], curves["all/dice"])
        np.testing.assert_array_equal(thresholds, curves["thresholds"])
        assert "stretched" in options["title"] and options["fixed_name"] != "dice_at_0.5"
        (drawn, _), options = calls["plot_precision_recall", "precision_recall_all"]
        np.testing.assert_array_equal(drawn["pred"][0], curves["all/precision"])
        np.testing.assert_array_equal(drawn["pred"][1], curves["all/sensitivity"])
        assert "stretched" in options["title"]
        pixels = calls["plot_reliability", "reliability_all"][0][0]
        np.testing.assert_array_equal(pixels, curves["all/pixels"])


def test_clips_take_turns_among_equals(tmp_path, calls):
    make_clips(tmp_path / "gt", (4, 4))
    for clip in ("case1_1", "case2_1"):
        for frame in range(4):
            save(tmp_path / f"pred/{clip}/image{frame + 8}.png", np.zeros(SHAPE, np.uint8))
    paths = tmp_path / "gt", tmp_path / "pred", tmp_path / "out"
    score(*paths, protocol="clinical", figures=True, worst_frames=3)
    items = calls[SHEET, "worst_frames_all"][0][0]
    assert [item.title.split("\n")[0] for item in items] == [
        *("case1_1 image8", "case2_1 image8", "case1_1 image9")
    ]
    assert {int(value) for value in np.unique(items[0].frame)} == {0, 90}, "no frames, so masks"
    assert {key[0] for key in calls} == {SHEET, "plot_dice_over_time", "plot_reliability"}


def test_frames_beside_the_masks_need_not_be_whole(tmp_path, calls, caplog):
    make_clips(tmp_path / "gt/GT", (5,))
    (tmp_path / "gt/Frame/case1_1").mkdir(parents=True)
    (tmp_path / "gt/Frame/case1_1/image8.png").write_bytes(b"no image")
    make_clips(tmp_path / "pred", (5,), shift=4)
    score(tmp_path / "gt", tmp_path / "pred", tmp_path / "out", protocol="both", figures=True)
    assert "image8.png cannot be read as an image; a figure shows its mask" in caplog.text
    assert len(calls[SHEET, "worst_frames_all"][0][0]) == 5


def test_frames_may_be_elsewhere(filmed, tmp_path, calls):
    frames = filmed[0] / "Frame"
    score(filmed[0] / "GT", filmed[1], tmp_path, protocol="both", figures=True, frames=frames)
    frame = cv2.imread(str(frames / "case1_1/image12.png"))[..., ::-1]
    np.testing.assert_array_equal(calls[SHEET, "worst_frames_all"][0][0][0].frame, frame)


def test_several_methods(filmed, tmp_path, calls, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "methods").mkdir()
    make_clips(tmp_path / "methods/far", (12, 5), shift=3)
    (tmp_path / "methods/near").symlink_to(filmed[1])
    drawn = []
    for name in NAMES:
        recorded = getattr(plots, name)

        def note(*arguments, _recorded=recorded, **options):
            drawn.append(str(next(a for a in arguments if hasattr(a, "parts"))))
            return _recorded(*arguments, **options)

        monkeypatch.setattr(plots, name, note)
    found = score(
        *(filmed[0], tmp_path / "methods", tmp_path / "out"),
        **{"protocol": "both", "figures": True, "bootstrap": Bootstrap(num_resamples=50)},
    )
    own = ["dice_over_threshold_all", "precision_recall_all", "reliability_all", "worst_frames_all"]
    own += ["dice_over_time/all/case1_1", "dice_over_time/all/case2_1"]
    joint = [*own[:2], "comparison_all", "differences_all"]
    expected = [f"{m}/figures/{name}" for m in ("far", "near") for name in own]
    expected += [f"figures/{name}" for name in joint]
    assert sorted(drawn) == sorted(str(tmp_path / "out" / name) for name in expected)
    assert caplog.messages[-1].endswith(f"; figures/: {', '.join(joint)}")
    assert list(calls["plot_dice_over_threshold", own[0]][0][0]) == ["far", "near"]
    assert list(calls["plot_precision_recall", own[1]][0][0]) == ["far", "near"]
    (scores, _), options = calls["plot_method_comparison", "comparison_all"]
    assert options["metric"] == "dice_max" and "stretched" in options["title"]
    for name, row in scores.items():
        value, low, high = row["all"]
        clips = [c["dice_max"] for c in found["methods"][name]["clips"]["all"].values()]
        assert value == found["methods"][name]["subsets"]["all"]["dice_max"]
        assert min(clips) - 1e-9 <= low < high <= max(clips) + 1e-9
    (scores, _), options = calls["plot_method_comparison", "differences_all"]
    interval = found["differences"][0]["intervals"]["dice_max"]
    assert scores["far"] == {"all\nminus near": tuple(interval.values())}
    assert scores["near"]["all\nminus near"][0] == 0, "the reference, in its own colour"
    assert list(scores) == ["far", "near"]
    assert options["reference"] == 0


def test_comparison_of_single_clips_has_no_interval(tmp_path, calls):
    make_clips(tmp_path / "gt", (5,))
    for name, shift in (("near", 1), ("far", 3)):
        make_clips(tmp_path / "methods" / name, (5,), shift=shift)
    score(tmp_path / "gt", tmp_path / "methods", tmp_path / "out", figures=True)
    (scores, _), _ = calls["plot_method_comparison", "comparison_all"]
    assert all(row["all"][0] > 0 and np.isnan(row["all"][1:]).all() for row in scores.values())
    assert ("plot_method_comparison", "differences_all") not in calls


def test_vps_alone_says_what_is_not_drawn(filmed, tmp_path, calls, caplog):
    caplog.set_level(logging.INFO)
    score(*filmed, tmp_path, figures=True)
    assert {key[0] for key in calls} == {"plot_dice_over_threshold", "plot_precision_recall"}
    assert "dice_over_time, worst_frames and reliability need" in caplog.text
    assert "protocol=both draws them" in caplog.text


def test_options(filmed, tmp_path, calls):
    score(*filmed, tmp_path / "a", protocol="both", figures=True, worst_frames=0)
    assert calls and SHEET not in {key[0] for key in calls}
    calls.clear()
    score(*filmed, tmp_path / "b", protocol="both", figures=False)
    assert not calls
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("evaluate", overrides=["gt=a", "pred=b", "output=c"])
    assert cfg.figures is Settings().figures is True
    with pytest.raises(ConfigError, match="worst_frames: got -1"):
        Settings(worst_frames=-1)


def test_notes_say_what_is_not_known_or_not_comparable(filmed, tmp_path):
    score(*filmed, tmp_path, protocol="both", quality=True, min_run=7)
    text = (tmp_path / "table.md").read_text()
    assert "every frame shows a polyp" in text and "polyp_free=DIR" in text
    assert "no run of 7 or more low-quality frames" in text
    assert "raw probabilities at 0.5; seconds at 30 frames per second" in text
    assert other_data({"unseen_easy": 86, "unseen_hard": 37}) == []
    (told,) = other_data({"unseen_easy": 86, "unseen_hard": 4})
    assert told.startswith("unseen_hard has 4 clips here and 37 in SUN-SEG")
