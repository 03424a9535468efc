"""Every shipped YAML file composes, builds what it names, and brings no stray key."""

import os
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from omegaconf import open_dict

from sali.build import build_task, model_node
from sali.config import GLOBAL_GROUPS, build, check_config, config_dir
from sali.errors import ConfigError
from sali.models.nodes import instantiate
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
        if group not in (".", "hydra", "fallback"):  # fallback is no group of training
            yield f"{group}={file.stem}"


def composed_option(option, *overrides):
    """Small where the option allows it; skips what needs a plugin that is not installed."""
    group = option.split("=")[0]
    small = group not in ("backbone", "data", "experiment", "ablation", "sweep")
    if option == "model=image":  # has no network of its own
        overrides = (*overrides, "model.net._target_=torch.nn.Identity")
    try:
        return composed(option, *overrides, *(["experiment=demo"] if small else []))
    except MissingConfigException as error:
        if not str(error.missing_cfg_file).startswith("hydra/"):
            raise
        return pytest.skip(f"{error.missing_cfg_file} comes with the extra `sweeps`")


NETWORKS = {}


def network_without_weights(node):
    """A network on the meta device; most options do not change it, so each is built once."""
    if (name := repr(node)) not in NETWORKS:
        with torch.device("meta"):
            NETWORKS[name] = instantiate(node, trust=None)
    return NETWORKS[name]


@pytest.mark.parametrize("option", options())
def test_every_option_composes_and_can_be_built(option, tmp_path):
    cfg = composed_option(option, f"paths.output_dir={tmp_path}")
    check_config(cfg, "train")
    with open_dict(cfg):  # what this machine may lack
        cfg.trainer.update(accelerator="cpu", devices=1, logger=False, precision="32-true")
    build(cfg.data)
    build(cfg.trainer)
    for node in [*cfg.logger.values(), *cfg.callbacks.values()]:
        if node:
            build(node)
    task = build_task(cfg, network_without_weights(model_node(cfg)))
    assert task.loss is not None and list(tmp_path.iterdir()) == []


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
        (["+experimnt=demo"], "unknown key 'experimnt'; did you mean 'experiment'"),
        (["+memory.max_frame=3"], "did you mean 'memory.max_frames'"),
        (["+data.transform.shard=[]"], "did you mean 'data.transform.shared'"),
        (["+memory.max_frames_x=1"], "did you mean 'memory.max_frames'"),
        (["+max_epochs=3"], "did you mean 'trainer.max_epochs'"),
        (
            ["+align.zzz=3"],
            r"align has \['kernel', 'max_offset', 'module', 'offset_groups'\]",
        ),
        (["data.root=???"], "no value for data.root"),
        (["data.root=${nowhere}"], "cannot be resolved"),
    ],
)
def test_stray_missing_and_broken_values_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_config(composed(*overrides), "train")


@pytest.mark.parametrize("choice", ["memory.max_frames=3", "align.max_offset=2", "memory.every=2"])
def test_a_part_that_the_model_does_not_have_is_refused(choice):
    check_config(composed(choice), "train")
    check_config(composed("ablation=full", "model=unet"), "train")  # changes nothing
    check_config(composed("experiment=polypgen_frames", "model=unet"), "train")  # none is true
    with pytest.raises(ConfigError, match=f"{choice[:5]}.*model=sali"):
        check_config(composed(choice, "model=unet"), "train")


@pytest.mark.parametrize("group", GLOBAL_GROUPS)
def test_a_stray_key_of_an_experiment_file_is_refused(group, tmp_path):
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text("# @package _global_\ntrainer: {max_epoch: 3}\n")
    cfg = composed(f"hydra.searchpath=[file://{tmp_path}]", f"{group}=mine")
    assert cfg.trainer.max_epoch == 3  # Hydra takes it
    with pytest.raises(ConfigError, match="'trainer.max_epoch'; did you mean 'trainer.max_epochs'"):
        check_config(cfg, "train")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("trainer.max_epoch=3", "unknown key 'trainer.max_epoch'; did you mean 'trainer.max_epoch"),
        ("+trainer.max_epoch=3", "unknown key 'trainer.max_epoch'; did you mean 'trainer.max_epo"),
        ("bakbone=pvt_v2_b2", "unknown key 'bakbone'; did you mean 'backbone'?"),
        ("data/transforms=none", "unknown key 'data/transforms'; did you mean 'data/transform'?"),
        ("backbone=pvt_v2_b9", "backbone has no option 'pvt_v2_b9'; did you mean 'pvt_v2_b5'?"),
        ("hydra/launcher=rai", "hydra/launcher has no option 'rai' in this environment"),
        ("loss.power=2", "given with a plus: +loss.power="),
        ("data.root=???", "no value for data.root"),
        ("data.root", "'data.root' has no value; wanted data.root=VALUE"),
        ("logger=null", "logger: got null, wanted one of ['"),
        ("data.max_skip.a=1", "an override names 'a' in a list; wanted an entry's number"),
        ("fusion=0", "fusion: got 0, wanted one of ['compat', 'gated'"),
        ("fusion={a: 1}", "fusion: got {'a': 1}, wanted one of ['compat', 'gated'"),
        ("weight_decay=[", "weight_decay=[ cannot be read; a value with = , ( ) { } [ ] quotes or"),
    ],
)
def test_mistakes_end_as_one_line(argument, message, tmp_path, monkeypatch):
    from sali.train import main

    folder = f"hydra.run.dir={tmp_path}"
    monkeypatch.setattr(sys, "argv", ["train", folder, argument])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert str(stopped.value.code).startswith("error: ")
    assert message in stopped.value.code and "\n" not in stopped.value.code
    assert "HYDRA_FULL_ERROR" not in os.environ


@pytest.mark.parametrize("argument", ["paths.output_dir=x", "+paths.output_dir=x"])
def test_a_key_of_another_command_says_which(argument, tmp_path, monkeypatch):
    from sali.predict import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["predict", "ckpt=a", "source=b", "output=c", argument])
    with pytest.raises(SystemExit) as stopped:
        main()
    message = stopped.value.code
    assert "unknown key 'paths" in message and "it is a key of train" in message
    assert "did you mean" not in message


def test_a_refusal_by_what_is_built_is_one_line():
    cfg = composed("loss.bce=sum")
    with pytest.raises(ConfigError, match="sali.losses.StructureLoss: bce 'sum' is not one of"):
        build(cfg.loss)


def test_cosine_needs_an_end_and_warms_up():
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


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("train", "seed=abc", "seed: got 'abc', wanted a number"),
        ("train", "data.batch_size=many", "data.batch_size: got 'many', wanted a number"),
        ("train", "data.test_subsets=seen_easy", r"say data.test_subsets=\[seen_easy\]"),
        ("train", "save_maps=2", "save_maps: got 2, wanted true or false"),
        ("predict", "trust=package", r"say trust=\[package\]"),
        ("predict", "overlay=yes_please", "overlay: got 'yes_please', wanted true or false"),
        ("evaluate", "subsets=seen_easy", r"say subsets=\[seen_easy\]"),
        ("evaluate", "clinical.threshold=null", "clinical.threshold: got null, wanted a number"),
        ("evaluate", "output=", "output: got '', wanted text"),
        ("predict", "output=null", "output: got null, wanted text"),
        ("predict", "source=[a,b]", "source: got .*, wanted text"),
        ("predict", "ckpt=null", "ckpt: got null, wanted text"),
        ("predict", "device=null", "device: got null, wanted text"),
        ("predict", "trust=null", "trust: got null, wanted a list"),
        ("predict", "video=null", "video: got null, wanted a value; it holds video.max_pixels"),
        ("predict", "data.image_size=abc", "data.image_size: got 'abc', wanted a number"),
        ("predict", "smoothing=abc", "smoothing: got 'abc', wanted a number"),
        ("train", "data.batch_size=null", "data.batch_size: got null, wanted a number"),
        ("train", "seed=null", "seed: got null, wanted a number"),
    ],
)
def test_values_of_another_kind_are_refused(command, given, message):
    needed = {"evaluate": ["gt=g", "pred=p", "output=o"], "predict": ["source=s", "output=o"]}
    cfg = composed(*needed.get(command, []), given, name=command)
    with pytest.raises(ConfigError, match=message) as caught:
        check_config(cfg, command)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("train", "callbacks.progress=null"),
        ("train", "data.still_motion=null"),
        ("train", "data.corruption=null"),
        ("train", "backbone.weights=null"),
        ("train", "operating_point.false_alarm_rate=null"),
        ("train", "ckpt_path=null"),
        ("train", "trainer.max_time=null"),
        ("evaluate", "threshold=null"),
        ("evaluate", "num_workers=null"),
        ("predict", "maps=null"),
        ("check", "counts=null"),
        ("check", "time_order=null"),
    ],
)
def test_null_goes_where_the_files_say_so(command, given):
    needed = {"evaluate": ["gt=g", "pred=p", "output=o"], "predict": ["source=s", "output=o"]}
    check_config(
        composed(*needed.get(command, ["root=r"][command == "train" :]), given, name=command),
        command,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("batch_size", 0), ("num_workers", -1), ("prefetch_factor", 0), ("seed", -1)),
        *(("seed", 1.5), ("split_seed", -3)),
    ],
)
def test_counts_of_the_data_are_checked_when_it_is_built(key, value):
    with pytest.raises(ConfigError, match=f"data.{key}: got {value}, wanted a whole number"):
        build(composed(f"data.{key}={value}").data)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2024_01", "2024_01"),
        ("1.10", "1.10"),
        ("007", "007"),
        ("true", "true"),
        ("'~/maps'", os.path.expanduser("~/maps")),
        ("~/it's", os.path.expanduser("~/it's")),
        ("~", os.path.expanduser("~")),
        ("'a, b'", "a, b"),
    ],
)
def test_folders_that_look_like_numbers_and_the_home_folder(given, wanted):
    from sali.cli import with_arguments

    given = with_arguments(["source=0", f"output={given}", "threshold=0.5"])
    cfg = composed(*given, name="predict")
    assert cfg.output == wanted
    assert cfg.source == "0" and cfg.threshold == 0.5
