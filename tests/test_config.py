"""Every shipped YAML file composes, builds what it names, and brings no stray key."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from sali.config import build, check_config, config_dir
from sali.errors import ConfigError
from sali.schedules import warmup_cosine

CONFIGS = Path(config_dir())
RUN = ["paths.output_dir=out", "data.root=data"]


def composed(*overrides, name="train"):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose(name, overrides=[*(RUN if name == "train" else []), *overrides])


def options():
    """group=option for every file of every group."""
    for file in sorted(CONFIGS.rglob("*.yaml")):
        group = file.relative_to(CONFIGS).parent.as_posix()
        if group not in (".", "hydra"):
            yield f"{group}={file.stem}"


@pytest.mark.parametrize("option", options())
def test_every_option_composes_without_stray_keys(option):
    cfg = composed(option)
    check_config(cfg)


@pytest.mark.parametrize(
    "group", ["loss", "optimizer", "scheduler", "trainer", "logger", "callbacks"]
)
def test_every_target_can_be_built(group, tmp_path):
    for file in sorted((CONFIGS / group).glob("*.yaml")):
        cfg = composed(f"{group}={file.stem}", f"paths.output_dir={tmp_path}")
        if group == "trainer":
            with open_dict(cfg):
                cfg.trainer.update(accelerator="cpu", devices=1, logger=False)
        if group == "logger" and file.stem == "wandb":
            continue  # built by a run, not by a test of YAML
        nodes = cfg[group].values() if group in ("logger", "callbacks") else [cfg[group]]
        for node in nodes:
            if node:
                build(node)


def test_recipes_are_one_recipe_with_different_subsets():
    plain = composed("experiment=seen_easy")
    for name in ("seen_hard", "unseen_easy", "unseen_hard"):
        other = composed(f"experiment={name}")
        assert list(other.data.test_subsets) == [name] == [other.name]
        other.name, other.data.test_subsets = plain.name, plain.data.test_subsets
        assert other == plain


def test_compat_reaches_the_parts_that_it_names():
    released, corrected = composed("compat=released"), composed()
    for cfg, values in (
        (released, ("next", "released", "released", "exact", "seen_hard")),
        (corrected, ("previous", "least_used", "weighted", "fast", "held_out")),
    ):
        assert values == (
            cfg.data.neighbor,
            cfg.memory.eviction,
            cfg.loss.bce,
            cfg.data.decode,
            cfg.data.selection,
        )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["+trainer.max_epoch=3"],
            "unknown key 'trainer.max_epoch'; did you mean 'trainer.max_epochs'",
        ),
        (["+memori=3"], "unknown key 'memori'; did you mean 'memory'"),
        (["+memory.max_frame=3"], "did you mean 'memory.max_frames'"),
        (["+data.transform.shard=[]"], "did you mean 'data.transform.shared'"),
        (["data.root=???"], "no value for data.root"),
        (["data.root=${nowhere}"], "cannot be resolved"),
    ],
)
def test_stray_missing_and_broken_values_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_config(composed(*overrides))


def test_a_refusal_by_what_is_built_is_one_line():
    cfg = composed("loss.bce=sum")
    with pytest.raises(ConfigError, match="sali.losses.StructureLoss: bce 'sum' is not one of"):
        build(cfg.loss)


def test_cosine_needs_an_end_and_warms_up():
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    entry = warmup_cosine(optimizer, 100, warmup_fraction=0.1, final_fraction=0.01)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        entry["scheduler"].step()
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[55] == pytest.approx(0.01 + 0.99 * 0.5)
    assert rates[100] == pytest.approx(0.01)
    with pytest.raises(ConfigError, match="max_epochs or trainer.max_steps"):
        warmup_cosine(optimizer, float("inf"), 0.1, 0.01)


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "benchmark"])
def test_help_and_resolved_config_from_another_folder(command, tmp_path):
    required = {
        "predict": ["ckpt=a", "source=b", "output=c"],
        "evaluate": ["gt=a", "pred=b", "output=c"],
    }.get(command, [])
    for flags in (["--help"], ["--cfg", "job", "--resolve", *required]):
        done = subprocess.run(
            [sys.executable, "-m", f"sali.{command}", *flags],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        assert done.returncode == 0, done.stderr
        assert "output" in done.stdout
    assert list(tmp_path.iterdir()) == []
