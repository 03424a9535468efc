"""The real command on the golden tree, and what it leaves behind."""

import json

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from made_trees import GOLDEN, contents, golden, make_clips, read_csv, run_evaluate, save, score

from sali.config import check_config, config_dir
from sali.evaluate import settings_from
from sali.evaluation import Settings
from sali.metrics.clinical_summary import clinical_names
from sali.metrics.vps import METRIC_NAMES

TOOLBOX_NAMES = (
    *("Smeasure", "wFmeasure", "MAE", "adpEm", "meanEm", "maxEm", "adpFm", "meanFm", "maxFm"),
    *("meanSen", "maxSen", "meanSpe", "maxSpe", "meanDice", "maxDice", "meanIoU", "maxIoU"),
)
FIXED = {"gt": GOLDEN / "SUN-SEG", "pred": GOLDEN / "predictions", "protocol": "both"}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """What the command writes with two workers."""
    folder = tmp_path_factory.mktemp("command") / "results"
    arguments = [f"{name}={value}" for name, value in FIXED.items()]
    done = run_evaluate(*arguments, f"output={folder}", "num_workers=2", "report.figures=false")
    assert done.returncode == 0, done.stderr
    assert "predictions, unseen_easy: 3 clips, 21 frames" in done.stdout + done.stderr
    return folder


def check(found, expected):
    assert tuple(found) == METRIC_NAMES
    for name, toolbox_name in zip(METRIC_NAMES, TOOLBOX_NAMES, strict=True):
        assert found[name] == pytest.approx(expected[toolbox_name], abs=1e-6, rel=0), name


def test_golden_metrics_through_the_command(output):
    metrics, expected = json.loads((output / "metrics.json").read_text()), golden()
    assert metrics["protocol"] == "both"
    assert list(metrics["subsets"]) == ["unseen_easy"]
    check(metrics["subsets"]["unseen_easy"], expected["dataset"])
    assert list(metrics["clips"]["unseen_easy"]) == list(expected["cases"])
    for clip, found in metrics["clips"]["unseen_easy"].items():
        check(found, expected["cases"][clip])


def test_one_process_gives_the_same_bytes(output, tmp_path):
    score(FIXED["gt"], FIXED["pred"], tmp_path / "one", protocol="both")
    results = {k: v for k, v in contents(output).items() if not k.startswith("report")}
    assert contents(tmp_path / "one") == results


def test_files(output):
    names = {path.name for path in output.iterdir()}
    assert names == {
        *("metrics.json", "run.json", "clips.csv", "frames.csv", "curves.npz"),
        *("table.md", "table.tex", "comparison.md", "report.html", "report"),
    }
    run = json.loads((output / "run.json").read_text())
    assert run["gt"] == str(FIXED["gt"]) and run["pred"] == str(FIXED["pred"])
    assert "protocol=both" in run["command"]


def test_rows_of_clips_and_frames_agree_with_the_scores(output):
    metrics = json.loads((output / "metrics.json").read_text())
    clips, frames = read_csv(output / "clips.csv"), read_csv(output / "frames.csv")
    assert [row["clip"] for row in clips] == list(golden()["cases"])
    for row in clips:
        own = [frame for frame in frames if frame["clip"] == row["clip"]]
        assert [int(frame["index"]) for frame in own] == list(range(7))
        scored = [frame["frame"] + ".png" for frame in own if frame["scored"] == "1"]
        assert scored == golden()["cases"][row["clip"]]["frames"]
        for name in ("s_measure", "mae", "dice_mean"):
            of_frames = np.mean([float(f[name]) for f in own if f["scored"] == "1"])
            assert float(row[name]) == pytest.approx(of_frames, abs=1e-12)
            assert float(row[name]) == metrics["clips"]["unseen_easy"][row["clip"]][name]
        dice = [float(f["dice_at_0.5"]) for f in own if f["dice_at_0.5"]]
        clinical = metrics["clinical"]["clips"]["unseen_easy"][row["clip"]]
        assert clinical["dice_at_0.5"] == pytest.approx(np.mean(dice), abs=1e-12)


def test_curves_give_the_scores_and_the_calibration(output):
    metrics = json.loads((output / "metrics.json").read_text())
    scores, clinical = metrics["subsets"]["unseen_easy"], metrics["clinical"]
    with np.load(output / "curves.npz") as curves:
        own = {key.removeprefix("unseen_easy/"): curves[key] for key in curves}
    for name in ("dice", "iou", "sensitivity", "specificity", "e", "f"):
        assert own[name].max() == scores[f"{name}_max"]
        assert own[name].mean() == scores[f"{name}_mean"]
    assert own["thresholds"].shape == own["precision"].shape == (256,)
    assert 0 < own["precision"].max() <= 1
    gaps = np.abs(own["reliability_frequency"] - own["reliability_confidence"])
    ece = np.nansum(gaps * own["reliability_weight"])
    assert ece == pytest.approx(clinical["subsets"]["unseen_easy"]["ece"])


def test_tables_hold_all_scores(output):
    text, latex = (output / "table.md").read_text(), (output / "table.tex").read_text()
    for name in (*METRIC_NAMES, *clinical_names(Settings().clinical)):
        assert f" {name} |" in text
        assert name.replace("_", r"\_") in latex
    scores = json.loads((output / "metrics.json").read_text())["subsets"]["unseen_easy"]
    assert f"| unseen_easy | predictions | 3 | {scores['dice_max']:.4f} |" in text
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3
    assert "**" not in text and "textbf" not in latex, "nothing to compare with"


def test_defaults_are_those_of_the_yaml():
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("evaluate", overrides=["gt=a", "pred=b", "output=c"])
    check_config(cfg, "evaluate")
    assert settings_from(cfg) == Settings()


def test_precision_is_that_of_the_pixels(tmp_path):
    mask = np.zeros((10, 10), np.uint8)
    mask[:5] = 255
    prediction = np.zeros((10, 10), np.uint8)
    prediction[:, :4] = 255
    for number in range(3):
        save(tmp_path / "gt/clip" / f"{number}.png", mask)
        save(tmp_path / "pred/clip" / f"{number}.png", prediction)
    score(tmp_path / "gt", tmp_path / "pred", tmp_path / "out")
    with np.load(tmp_path / "out/curves.npz") as curves:
        assert curves["all/precision"][0] == pytest.approx(20 / 40)
        assert curves["all/sensitivity"][0] == pytest.approx(20 / 50)
        assert curves["all/precision"][-1] == pytest.approx(50 / 100)


def test_maps_of_another_size_are_resized(tmp_path):
    make_clips(tmp_path / "gt")
    make_clips(tmp_path / "pred", shift=1)
    same = score(tmp_path / "gt", tmp_path / "pred", tmp_path / "same")["subsets"]["all"]
    for path in (tmp_path / "pred").rglob("*.png"):
        save(path, cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (64, 48)))
    larger = score(tmp_path / "gt", tmp_path / "pred", tmp_path / "larger")["subsets"]["all"]
    assert larger["dice_max"] == pytest.approx(same["dice_max"], abs=0.05)
    assert larger != same


def test_one_subset_folder_and_clip_folders_are_the_same(tmp_path):
    clips = make_clips(tmp_path / "Unseen/GT")
    make_clips(tmp_path / "pred", shift=1)
    whole = score(tmp_path / "Unseen", tmp_path / "pred", tmp_path / "a")
    assert whole == score(clips, tmp_path / "pred", tmp_path / "b")
    assert list(whole["subsets"]) == ["all"]
    assert not (tmp_path / "a/comparison.md").exists()


def test_maps_by_subset_name_as_training_writes_them(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/unseen_easy").symlink_to(GOLDEN / "predictions/TestEasyDataset/Unseen")
    found = score(FIXED["gt"], tmp_path / "maps", tmp_path / "out", name="mine")
    check(found["subsets"]["unseen_easy"], golden()["dataset"])
    assert found["method"] == "mine"
    text = (tmp_path / "out/comparison.md").read_text()
    assert "unseen_easy has 3 clips here and 86 in SUN-SEG" in text and "PNS+" not in text
