"""Is a command of the documentation one that this code would take."""

import argparse
import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from docs_pages import ROOT, Command
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf
from torch.distributed.run import get_args_parser as torchrun_parser

from benchmarks.__main__ import CONFIG as BENCHMARK
from sali.cli import with_arguments
from sali.config import check_config, command_file, commands, config_dir, known_keys
from sali.evaluate import settings_from
from sali.streaming.prepare import PRECISIONS

SHELL = {("python3.11", "-m", "venv", ".venv"), (".", ".venv/bin/activate")}
"""Commands of others, taken as they are."""
NEEDS_PLUGIN = {
    "hydra/launcher=ray": "hydra_plugins.hydra_ray_launcher",
    "sweep=modules_small": "hydra_plugins.hydra_ray_launcher",
    "sweep=learning_rate": "hydra_plugins.hydra_optuna_sweeper",
}
"""Overrides that compose only with the extra `sweeps`."""


LATER: set[str] = set()
"""Modules, targets and keys that the pages name and that are still to come."""


class Parsed(Exception):  # noqa: N818
    """A program has parsed its arguments; it is to do nothing more."""


def check(command: Command) -> str:
    """How a command was checked: "composed", "parsed", "make", "pip", "shell" or "later".

    Raises:
        AssertionError: or what Hydra, argparse or make raise for a command that does not fit.
    """
    words = command.words
    if words in SHELL:
        return "shell"
    match words:
        case ("python", "-m", module, *arguments):
            return check_module(module, arguments)
        case ("python", script, *arguments):
            return check_program(arguments, path=ROOT / script)
        case ("torchrun", *arguments):
            given = torchrun_parser().parse_args(arguments)
            assert given.module, f"{command}: wanted -m"
            return check_module(given.training_script, given.training_script_args)
        case ("make", *arguments):
            return check_make(arguments)
        case ("pip", "install", "-e", what):
            return check_extras(what)
    raise AssertionError(f"{command}: do not know how to check it")


def check_module(module: str, arguments: Sequence[str]) -> str:
    """A command of this package: composed if it is a Hydra app, else parsed."""
    spec = importlib.util.find_spec(module)
    if spec is None and module in LATER:
        return "later"
    assert spec is not None and spec.origin, f"no module {module}"
    name = re.search(r'^@command\("(\w+)"\)', Path(spec.origin).read_text(), re.MULTILINE)
    if module == "benchmarks":
        check_overrides(BENCHMARK, arguments, multirun=False)
        return "composed"
    if name is None:
        return check_program(arguments, module=module)
    given = get_args_parser().parse_args(list(arguments))
    keys = {override.partition("=")[0] for override in given.overrides}
    if keys & LATER - frozenset().union(*map(known_keys, commands())):
        return "later"
    check_overrides(name[1], with_arguments(given.overrides), given.multirun, given.config_dir)
    return "composed"


def check_overrides(
    name: str, overrides: Sequence[str], multirun: bool, options: str | None = None
) -> None:
    """Compose every value of every override against a configuration, and look for stray keys.

    Args:
        name: Name of the command's file.
        overrides: Overrides of the command line.
        multirun: Whether the command has `-m`.
        options: Folder given by `--config-dir`, if any.
    """
    for override in overrides:
        plugin = NEEDS_PLUGIN.get(override)
        if plugin and not has_plugin(plugin):
            pytest.skip(f"{override} needs {plugin}, of the extra `sweeps`")
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    sweep = [o for o in parsed if o.key_or_group == "sweep"]
    if sweep:
        parsed += OverridesParser.create().parse_overrides(list(swept_by(str(sweep[0].value()))))
    swept = [o for o in parsed if o.is_sweep_override()]
    assert multirun or sweep or not swept, f"{swept[0].input_line} wants -m"
    fixed = [o.input_line for o in parsed if not o.is_sweep_override()]
    choices = [values_of(o) for o in swept]
    first = [values[0] for values in choices]
    jobs = [first] + [
        [*first[:i], value, *first[i + 1 :]]
        for i, values in enumerate(choices)
        for value in values[1:]
    ]
    for job in jobs:
        searched = [f"hydra.searchpath=[{Path(options).resolve()}]"] if options else []
        check_values(name, composed(name, [*searched, *fixed, *job]))


def has_plugin(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def swept_by(option: str) -> Iterator[str]:
    """What a file of the group `sweep` varies, as overrides."""
    cfg = OmegaConf.load(Path(config_dir()) / "sweep" / f"{option}.yaml")
    for key, values in (OmegaConf.select(cfg, "hydra.sweeper.params") or {}).items():
        yield f"{key}={values}"


def values_of(override: Override) -> list[str]:
    """`key=value` for each value of a sweep; both ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [f"{override.get_key_element()}={end}" for end in (value.start, value.end)]
    key = override.get_key_element()
    return [f"{key}={text}" for text in override.sweep_string_iterator()]


def composed(name: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that a command would get, checked for stray and missing keys."""
    base = ["paths.output_dir=out"] if name == "train" else []
    file = command_file(name)
    with initialize_config_dir(str(file.parent), version_base="1.3"):
        cfg = compose(file.stem, overrides=[*base, *overrides])
    check_config(cfg, name)
    return cfg


def check_values(name: str, cfg: DictConfig) -> None:
    """Values that a configuration takes but its command refuses."""
    if name == "evaluate":
        settings_from(cfg)
    if name == "predict":
        assert str(cfg.precision) in PRECISIONS and cfg.on_bad_frame in ("error", "skip")


def check_program(arguments: Sequence[str], module: str = "", path: Path | None = None) -> str:
    """A program with argparse: its own parser takes the arguments."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        parse(self, args, namespace)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module or str(path), *arguments])
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        if path is not None:  # as Python itself does for a script
            patch.syspath_prepend(path.parent)
        run, what = (runpy.run_path, str(path)) if path else (runpy.run_module, module)
        with pytest.raises(Parsed):
            run(what, run_name="__main__")
    return "parsed"


def check_make(arguments: Sequence[str]) -> str:
    """The target is there, and so is what it would run."""
    # `make test ARGS=...` hands its own variables down to every make below it.
    environment = {k: v for k, v in os.environ.items() if k not in ("ARGS", "MAKEFLAGS")}
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *arguments],
        cwd=ROOT, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    if done.returncode and arguments[0] in LATER:
        return "later"
    assert done.returncode == 0, done.stderr
    for line in done.stdout.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line)
        ours = words[0] == "-m" and words[1].startswith(("sali.", "benchmarks"))
        if program.endswith("/python") and ours:
            check_module(words[1], words[2:])
        elif program.endswith("/python") and words[0].startswith("scripts/"):
            check_program(words[1:], path=ROOT / words[0])
    return "make"


def check_extras(what: str) -> str:
    """`.[a,b]` names extras that pyproject.toml has."""
    found = re.fullmatch(r"\.(?:\[([\w,-]+)\])?", what)
    assert found, f"pip install -e {what}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    unknown = set((found[1] or "").split(",")) - {"", *extras}
    assert not unknown, f"no extra {unknown}"
    return "pip"
