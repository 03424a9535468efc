"""Networks from outside through the ordinary commands: trained, resumed, streamed and scored."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from miniature import assert_same_end, overrides
from PIL import Image
from test_outside import OUTSIDE

from sali.cli import quoted
from sali.config import config_dir
from sali.data.listing import frame_key
from sali.errors import UserError, WeightsError
from sali.evaluation import Settings, evaluate
from sali.predict import predict
from sali.train import train

NETWORKS = ["tiny", "running_mean"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(OUTSIDE)


def run(data_root, output, *more):
    searched = f"hydra.searchpath=[{quoted(str(OUTSIDE / 'configs'))}]"
    given = [*overrides(data_root, output, *more), searched]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return train(compose("train", overrides=given))


def predicted(checkpoint, source, output, *more):
    given = [f"ckpt={checkpoint}", f"source={source}", f"output={output}", "num_workers=0", *more]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        predict(compose("predict", overrides=given))
    return {
        path.relative_to(output): np.asarray(Image.open(path))
        for path in sorted(Path(output).rglob("*.png"))
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_trained_streamed_and_scored(data_root, tmp_path, network):
    model = (f"model={network}", "trainer.limit_train_batches=2", "optimizer.lr=1e-2")
    whole = run(data_root, tmp_path / "whole", *model, "trainer.max_epochs=1")
    written = json.loads((tmp_path / "whole/metrics.json").read_text())
    assert set(written["subsets"]) == set(whole["subsets"]) == {"seen_easy"}

    checkpoint = tmp_path / "whole/checkpoints/last.ckpt"
    source = data_root / "TestEasyDataset/Seen"
    with pytest.raises(WeightsError, match=r"trust=\[outside_package\]"):
        predicted(checkpoint, source, tmp_path / "refused")
    maps = predicted(checkpoint, source, tmp_path / "maps/seen_easy", "trust=[outside_package]")
    assert maps and all(one.shape == (96, 120) for one in maps.values())
    only = Settings(subsets=("seen_easy",), num_workers=1)
    scores = evaluate(data_root, tmp_path / "maps", tmp_path / "scores", only)
    assert 0 <= scores["subsets"]["seen_easy"]["dice_max"] <= 1


def test_a_resumed_training_ends_as_one_that_was_not_interrupted(data_root, tmp_path):
    model = ("model=running_mean", "trainer.limit_train_batches=2", "scheduler=constant")
    run(data_root, tmp_path / "whole", *model, "trainer.max_epochs=2")
    run(data_root, tmp_path / "parts", *model, "trainer.max_epochs=1")
    run(data_root, tmp_path / "parts", *model, "trainer.max_epochs=2", "ckpt_path=auto")
    assert_same_end(tmp_path / "whole", tmp_path / "parts", steps=4)


def test_the_state_of_a_video_matters(data_root, tmp_path):
    run(data_root, tmp_path / "run", "model=running_mean")
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    source = data_root / "TestEasyDataset/Seen"
    trusted = "trust=[outside_package]"
    whole = predicted(checkpoint, source, tmp_path / "maps", trusted)
    fast = predicted(checkpoint, source, tmp_path / "fast", trusted, "+memory.decay=0.0")
    first, *rest = sorted(whole, key=lambda path: frame_key(path.name))
    assert (whole[first] == fast[first]).all()  # nothing to remember yet
    assert any((whole[name] != fast[name]).any() for name in rest)
    with pytest.raises(UserError, match="max_frames"):
        predicted(checkpoint, source, tmp_path / "other", trusted, "memory.max_frames=3")
    with pytest.raises(UserError, match="decay: got 2"):
        predicted(checkpoint, source, tmp_path / "other", trusted, "+memory.decay=2")
