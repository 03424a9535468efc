"""The operating point from the training that fits it to the prediction that uses it."""

import csv
import json

import cv2
import numpy as np
import pytest
from conftest import small_clips
from hydra import compose, initialize_config_dir
from miniature import overrides, run
from PIL import Image

from sali.config import build, config_dir
from sali.metrics.operating_point import OperatingPoint
from sali.models.checkpoint import read_checkpoint
from sali.predict import predict
from sali.training import fitted_on

POINT = ("threshold", "min_region", "temperature", "confidence")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Generated clips; every second frame of the training set has no polyp in its mask."""
    root = small_clips(tmp_path_factory.mktemp("data"), test_clips_per_subset=1, seed=4)
    for folder in (root / "TrainDataset/GT").iterdir():
        for path in sorted(folder.iterdir())[::2]:
            cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)))
    return root


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    given = "trainer.max_epochs=1", "trainer.precision=bf16-mixed", "save_maps=true"
    return output, run(data, output, *given)


def predicted(trained, data, output, *more):
    folder = data / "TestEasyDataset/Seen/Frame"
    given = [f"ckpt={trained[0] / 'checkpoints/best.ckpt'}", f"source={folder}", "num_workers=0"]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        predict(compose("predict", overrides=[*given, f"output={output}", "tables=true", *more]))
    maps = {p.stem: np.asarray(Image.open(p)) for p in output.rglob("*.png")}
    (table,) = output.with_name(f"{output.name}_tables").glob("case*[0-9].csv")
    with table.open() as file:
        return maps, {row["frame"]: int(row["area"]) for row in csv.DictReader(file)}


def test_a_training_fits_a_point_and_tests_with_it(trained):
    output, metrics = trained
    stored = read_checkpoint(output / "checkpoints/best.ckpt").settings["operating_point"]
    assert stored["false_alarm_rate"] <= 0.05 and stored["polyp_free_frames"] > 0
    manifest = json.loads((output / "maps/run.json").read_text())
    told = manifest["operating_point"]
    assert manifest["precision"] == "32" and told == {name: stored[name] for name in POINT}
    assert told in metrics["operating_point"]["points"].values()
    assert not (output / "maps/.held_out").exists()


def test_it_belongs_to_the_precision_of_predict(trained, data, tmp_path, caplog):
    told = read_checkpoint(trained[0] / "checkpoints/best.ckpt").settings["operating_point"]
    assert told["precision"] == "32"
    maps, _ = predicted(trained, data, tmp_path / "a")
    assert not [one for one in caplog.records if one.levelname == "WARNING"]
    for name, one in maps.items():
        (same,) = (trained[0] / "maps").rglob(f"seen_easy/*/{name}.png")
        np.testing.assert_array_equal(one, np.asarray(Image.open(same)))
    predicted(trained, data, tmp_path / "b", "precision=bf16")
    assert "precision=32" in caplog.text and "fit_operating_point" in caplog.text
    assert json.loads((tmp_path / "b/run.json").read_text())["precision"] == "bf16"


def test_a_prediction_uses_it_unless_told_otherwise(trained, data, tmp_path):
    stored = read_checkpoint(trained[0] / "checkpoints/best.ckpt").settings["operating_point"]
    point = OperatingPoint(**{name: stored[name] for name in POINT})
    maps, areas = predicted(trained, data, tmp_path / "a")
    others, at_half = predicted(trained, data, tmp_path / "b", "threshold=0.5")
    for name, one in maps.items():
        np.testing.assert_array_equal(one, others[name])
    assert areas == {name: point.mask(one).sum() for name, one in maps.items()}
    assert at_half == {name: (one >= 128).sum() for name, one in maps.items()}
    assert json.loads((tmp_path / "b/run.json").read_text())["operating_point"]["threshold"] == 0.5


def test_where_none_can_be_fitted_the_log_says_why(data, data_root, tmp_path, caplog):
    caplog.set_level("INFO")
    cases = {
        "no held-out case": (data_root,),
        "maps are written as minmax": (data, "compat.maps=minmax"),
        "bad": (data, "data/corruption=bad_runs"),
    }
    for why, (root, *more) in cases.items():
        caplog.clear()
        with initialize_config_dir(config_dir(), version_base="1.3"):
            cfg = compose("train", overrides=overrides(root, tmp_path, *more))
        clips = build(cfg.data)
        clips.index()
        assert fitted_on(cfg, clips) == [] and why in caplog.text
