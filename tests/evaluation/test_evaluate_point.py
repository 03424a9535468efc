"""Scores at the operating point of a prediction, and its fit for a checkpoint."""

import json

import numpy as np
import pytest
import torch
from conftest import SMALL, small_network
from hydra import compose, initialize_config_dir
from made_trees import make_clips, save, score
from PIL import Image
from scipy import ndimage

from sali.config import config_dir
from sali.errors import ConfigError, WeightsError
from sali.evaluation import Settings
from sali.fit_operating_point import fit_checkpoint
from sali.models.checkpoint import read_checkpoint
from scripts.ship_weights import save_half

POINT = {"threshold": 0.7, "min_region": 0.05, "temperature": 1.0, "confidence": 0.0}


@pytest.fixture
def trees(tmp_path):
    """Two clips with a polyp and one without, with specks and a blob on its maps."""
    gt, pred = make_clips(tmp_path / "gt"), make_clips(tmp_path / "pred", shift=1)
    make_clips(gt, (6,), polyp=False, first=3)
    random = np.random.default_rng(0)
    for frame in range(6):
        prediction = random.integers(0, 120, (24, 32)).astype(np.uint8)
        prediction[3, 4 : 5 + frame] = 250
        if frame == 5:
            prediction[10:20, 10:20] = 200
        save(pred / "case3_1" / f"image{frame + 8}.png", prediction)
    return gt, pred


def by_hand(gt, pred, names):
    """Dice and detection of polyp frames, and the share of others that is marked, by SciPy."""
    dices, detected, marked = [], [], []
    for name in names:
        own = []
        for path in sorted((pred / name).iterdir()):
            truth = np.asarray(Image.open(gt / name / path.name)) > 128
            labels, number = ndimage.label(
                np.asarray(Image.open(path)) / 255 >= 0.7, np.ones((3, 3))
            )
            sizes = ndimage.sum_labels(labels > 0, labels, range(1, number + 1))
            kept = np.isin(labels, 1 + np.flatnonzero(sizes >= 0.05 * truth.size))
            if truth.any():
                overlap = (kept & truth).sum()
                own.append(2 * overlap / (kept.sum() + truth.sum()))
                detected.append(overlap / (kept | truth).sum() >= 0.5)
            else:
                marked.append(kept.any())
        dices += [np.mean(own)] if own else []
    return np.mean(dices), np.mean(detected), np.mean(marked)


def test_maps_are_also_scored_at_the_point_of_their_prediction(trees, tmp_path):
    gt, pred = trees
    plain = score(gt, pred, tmp_path / "plain", protocol="both")
    assert "operating_point" not in plain
    (pred / "run.json").write_text(json.dumps({"operating_point": POINT}))
    found = score(gt, pred, tmp_path / "out", protocol="both")
    part = found.pop("operating_point")
    assert found == plain, "the other scores stay as they are"
    assert part["points"] == {"all": POINT}
    scores = part["subsets"]["all"]
    dice, detected, marked = by_hand(gt, pred, ("case1_1", "case2_1", "case3_1"))
    assert scores["dice_at_operating_point"] == pytest.approx(dice)
    assert scores["frame_sensitivity"] == pytest.approx(detected)
    assert scores["frame_specificity"] == pytest.approx(1 - marked) == pytest.approx(5 / 6)
    assert scores["false_alarms"] == 1
    assert set(part["clips"]["all"]) == {"case1_1", "case2_1", "case3_1"}
    assert "dice_at_operating_point" in (tmp_path / "out/table.md").read_text()
    with np.load(tmp_path / "out/curves.npz") as curves:
        rates, sensitivity = curves["all/alarm_rate"], curves["all/frame_sensitivity"]
    assert rates[0] > rates[-1] and (np.diff(rates) <= 0).all()
    row = found["clinical"]["subsets"]["all"]["frame_sensitivity_at_alarm_rate_0.1"]
    assert row == sensitivity[rates <= 0.1][0]
    off = score(gt, pred, tmp_path / "off", protocol="both", threshold=None)
    assert off == plain
    other = score(gt, pred, tmp_path / "other", protocol="clinical", threshold=0.7)
    assert other["operating_point"]["points"]["all"]["min_region"] == 0


@pytest.mark.parametrize("threshold", [0, 1.5, "best"])
def test_another_threshold_is_refused(threshold):
    with pytest.raises(ConfigError, match="threshold: got"):
        Settings(threshold=threshold)


def fit(*overrides):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return fit_checkpoint(compose("fit_operating_point", overrides=list(overrides)))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "best.ckpt"
    state = {f"network.{name}": one for name, one in small_network().state_dict().items()}
    streaming = dict(image_size=256, max_frames=4, every=1, eviction="released", neighbor="next")
    own = {"network": SMALL, "streaming": streaming, "maps": "probability", "decode": "exact"}
    torch.save({"state_dict": state, "sali": own, "global_step": 7}, path)
    return path


def test_a_checkpoint_gets_a_point_and_keeps_the_rest(trees, checkpoint):
    gt, pred = trees
    before = read_checkpoint(checkpoint)
    found = fit(
        f"ckpt={checkpoint}", f"gt={gt}", f"pred={pred}", "operating_point.false_alarm_rate=0.2"
    )
    after = read_checkpoint(checkpoint)
    stored = after.settings["operating_point"]
    assert stored["threshold"] == found.point.threshold
    assert stored["polyp_free_frames"] == 6 and stored["polyp_frames"] == 9
    assert stored["false_alarm_rate"] <= 0.2
    assert stored["precision"] is None, "the maps do not say theirs"
    assert before.state.keys() == after.state.keys()
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 7
    half = checkpoint.with_suffix(".safetensors")
    save_half(checkpoint, half)
    assert read_checkpoint(half).settings["operating_point"] == stored
    (pred / "run.json").write_text(json.dumps({"operating_point": POINT, "precision": "bf16"}))
    fit(f"ckpt={half}", f"gt={gt}", f"pred={pred}", "operating_point.false_alarm_rate=0.5")
    refitted = read_checkpoint(half)
    again = refitted.settings["operating_point"]
    assert again["precision"] == "bf16" and {**again, "precision": None} != stored
    assert refitted.state.keys() == after.state.keys()


def test_what_cannot_be_fitted_is_refused(trees, checkpoint, released_checkpoint):
    gt, pred = trees
    with pytest.raises(WeightsError, match="not a checkpoint of sali.train"):
        fit(f"ckpt={released_checkpoint}", f"gt={gt}", f"pred={pred}")
    with pytest.raises(ConfigError, match="false_alarm_rate"):
        fit(f"ckpt={checkpoint}", f"gt={gt}", f"pred={pred}", "operating_point.false_alarm_rate=1")
    for name in ("gt", "pred"):
        for file in (trees[name == "pred"] / "case3_1").iterdir():
            file.unlink()
        (trees[name == "pred"] / "case3_1").rmdir()
    with pytest.raises(ConfigError, match="without a polyp"):
        fit(f"ckpt={checkpoint}", f"gt={gt}", f"pred={pred}")
