"""Options from outside: a package and a folder of YAML files that `sali` knows nothing of."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from miniature import ROOT, overrides

from sali.cli import quoted
from sali.config import build, check_config, config_dir
from sali.errors import ConfigError

OUTSIDE = Path(__file__).parent / "outside"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(OUTSIDE)


def composed(*more, folders=()):
    path = ",".join(quoted(str(folder)) for folder in [OUTSIDE / "configs", *folders])
    given = ["paths.output_dir=out", "data.root=data", f"hydra.searchpath=[{path}]"]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose("train", overrides=[*given, *more])


def options():
    """Yield `group=option` for every file from outside."""
    root = OUTSIDE / "configs"
    for file in sorted(root.rglob("*.yaml")):
        yield f"{file.parent.relative_to(root).as_posix()}={file.stem}"


@pytest.mark.parametrize("option", options())
def test_every_option_from_outside_is_accepted(option):
    check_config(composed(option), "train")


def test_a_loss_gets_its_nested_arguments():
    loss = build(composed("loss=weighted_sum", "loss.weights.dice=2.0").loss)
    logits, mask = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    dice = 1 - (2 * 8 + 1) / (8 + 16 + 1)
    entropy = torch.log(torch.tensor(2.0))
    torch.testing.assert_close(loss([logits], mask), 2.0 * dice + 0.5 * entropy)


@pytest.mark.parametrize(
    ("given", "key", "meant"),
    [
        ("+loss.weight={dice: 1.0}", "loss.weight", "loss.weights"),
        ("+loss.terms.dice.smoth=1.0", "loss.terms.dice.smoth", "loss.terms.dice.smooth"),
        ("+callbacks.loss_history.pth=x", "callbacks.loss_history.pth", "loss_history.path"),
        ("+callbacks.progres={update_every_n_steps: 3}", "callbacks.progres", "callbacks.progress"),
        ("+callbacks.loss_history._targt_=x", "callbacks.loss_history._targt_", "_target_"),
        ("+trainer.max_epoch=3", "trainer.max_epoch", "trainer.max_epochs"),
    ],
)
def test_typos_are_still_refused(given, key, meant):
    cfg = composed("experiment=outside", given)
    with pytest.raises(ConfigError) as refused:
        check_config(cfg, "train")
    assert f"'{key}'" in str(refused.value) and meant in str(refused.value)


@pytest.mark.parametrize("group", ["experiment", "ablation"])
def test_typos_in_files_from_outside_are_refused(group, tmp_path):
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: weighted_sum\n"
        "loss: {terms: {dice: {smoth: 2.0}}}\n"
    )
    cfg = composed(f"{group}=mine", folders=[tmp_path])
    with pytest.raises(ConfigError, match=r"'loss\.terms\.dice\.smoth'.*smooth"):
        check_config(cfg, "train")


def test_a_class_that_is_not_there_is_one_line():
    cfg = composed("loss=weighted_sum", "loss._target_=outside_package.losses.Nothing")
    with pytest.raises(ConfigError) as refused:
        check_config(cfg, "train")
    message = str(refused.value)
    assert message.startswith("loss._target_: got 'outside_package.losses.Nothing'")
    assert "\n" not in message


def test_a_class_named_on_the_command_line_gets_its_arguments():
    """As a user types it, without Hydra's + for keys that no file declares."""
    command = [*(sys.executable, "-m", "sali.train", "--cfg", "job", "model=image")]
    network = ["model.net._target_=outside_package.models.TinyNet", "model.net.width=6"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(OUTSIDE)])}
    done = subprocess.run([*command, *network], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "_target_: outside_package.models.TinyNet\n    width: 6" in done.stdout
    with pytest.raises(ConfigError, match="widht"):
        check_config(composed("model=image", network[0], "+model.net.widht=6"), "train")


def test_a_training_of_options_from_outside_only(data_root, tmp_path):
    """The command itself, with a folder of options, in a process of its own."""
    given = [a for a in overrides(data_root, "") if not a.startswith("paths.output_dir")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(OUTSIDE)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        *(sys.executable, "-m", "sali.train", "--config-dir", str(OUTSIDE / "configs")),
        *("experiment=outside", f"hydra.run.dir={tmp_path}", *given),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    losses = json.loads((tmp_path / "losses.json").read_text())
    assert len(losses) == 2 and all(0 < loss < 20 for loss in losses)  # a step per epoch
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    score = metrics["frame_metrics"]["subsets"]["seen_easy"]["hausdorff"]
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        logged = [row.get("test/seen_easy/hausdorff") for row in csv.DictReader(file)]
    assert [float(value) for value in logged if value] == ([score] if score is not None else [])
