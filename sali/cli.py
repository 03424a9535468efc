"""How the commands start and end: Hydra around a function, a user's mistakes as one line."""

import errno
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    CompactHydraException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sali.config import command_file, config_dir, groups, nearest, unknown_key
from sali.errors import UserError

Command = Callable[[DictConfig], Any]
TEXT_KEYS = {
    *("source", "output", "ckpt", "gt", "pred", "run", "root", "name", "images", "masks", "runs"),
    *("calibration", "annotations", "frames", "polyp_free", "attributes", "ckpt_path", "init_ckpt"),
    *("data.root", "data.stills", "data.polyp_free", "data.split", "data.cache"),
    *("hydra.run.dir", "hydra.sweep.dir", "paths.output_dir"),
}
"""Keys of files, folders and names."""
MULTIRUN = ("-m", "--multirun", "sweep=", "hydra.mode=")
"""How arguments begin that ask for several jobs, in which a comma separates values."""
_LIKE_A_NUMBER = re.compile(r"[-+]?[\d_.]*\d[\d_.]*(e[-+]?\d+)?|true|false|nan|[-+]?inf", re.I)
LONG = 100
"""Characters that no option's name has."""
INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""


def command(config_name: str) -> Callable[[Command], Callable[[], None]]:
    """Make a Hydra app of a function of the configuration `configs/<config_name>.yaml`.

    `config_name` may also be the path of a file elsewhere, see `sali.config.command_file`.

    `--help` shows the docstring of the command's module and the file itself, whose comments say
    what every key is; train, whose keys come from many files, has a template in configs/hydra.

    What a user can fix, a `UserError`, a full disk or a configuration that does not compose, ends
    as `error: <one line>` on stderr and exit code 1. HYDRA_FULL_ERROR=1 shows the traceback of the
    latter.
    """

    def decorate(main: Command) -> Callable[[], None]:
        file = command_file(config_name)
        app = hydra.main(version_base="1.3", config_path=str(file.parent), config_name=file.stem)(
            _with_readable_errors(main)
        )

        def run() -> None:
            if config_name != "train" and {"--help", "-h"} & set(sys.argv[1:]):
                sys.stdout.write(_help(main, config_name))
                return
            sys.argv[1:] = with_arguments(sys.argv[1:])
            full = os.environ.get("HYDRA_FULL_ERROR")
            if wrong := no_option(sys.argv[1:]):
                sys.exit(f"error: {wrong}")
            os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error in its own way
            try:
                app()
            except (CompactHydraException, OmegaConfBaseException, ValueError) as error:
                if full == "1" or not (_is_of_hydra(error) or names_in_a_list(error)):
                    raise
                sys.exit(f"error: {explain(error, config_name)}")
            finally:
                os.environ.pop("HYDRA_FULL_ERROR")
                if full is not None:
                    os.environ["HYDRA_FULL_ERROR"] = full

        return run

    return decorate


def with_arguments(overrides: list[str]) -> list[str]:
    """Return command-line overrides as users mean them.

    - `model.net._target_=package.Class model.net.depth=3`: no file declares `depth`, and Hydra
      would want `++model.net.depth=3`. The class's signature checks it later.
    - `output=2024_01`: a folder's name is text, though it looks like a number; `~` is the home.
    - `source=/data/é (2)/a=b`: so is a path with characters that have a meaning in Hydra's grammar.
    """
    multirun = any(argument.startswith(MULTIRUN) for argument in overrides)
    overrides = [_with_text(argument, multirun) for argument in overrides]
    named = [arg.partition("._target_=")[0].lstrip("+") for arg in overrides if "._target_=" in arg]
    prefixes = tuple(f"{name}." for name in named)
    return [
        f"++{arg}" if prefixes and arg.startswith(prefixes) and "._target_=" not in arg else arg
        for arg in overrides
    ]


def _with_text(override: str, multirun: bool) -> str:
    """Return an override of a path or name, quoted where Hydra would not take it as it is."""
    key, equals, value = override.partition("=")
    if not equals or key not in TEXT_KEYS:
        return override
    plain = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
    whole = os.path.expanduser(plain)
    if whole == plain and not _LIKE_A_NUMBER.fullmatch(value) and _is_read(override, multirun):
        return override
    return f"{key}={quoted(whole)}"


def _is_read(override: str, multirun: bool) -> bool:
    """Return whether Hydra takes an override as it is; commas mean something in a multirun only."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return multirun or not parsed.is_sweep_override()


def quoted(text: str) -> str:
    """Return a text as a value in Hydra's grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _help(main: Command, config_name: str) -> str:
    about = (sys.modules[main.__module__].__doc__ or "").strip()
    keys = command_file(config_name).read_text()
    return (
        f"{about}\n\nResearch software, not a medical device.\n\n"
        "Flags: --cfg job [--resolve] prints the configuration and stops.\n"
        "Keys (KEY=VALUE; ??? must be given, all others have these values):\n\n"
        f"{keys}"
    )


def _with_readable_errors(main: Command) -> Command:
    @functools.wraps(main)
    def wrapped(cfg: DictConfig) -> Any:
        try:
            return main(cfg)
        except UserError as error:
            sys.exit(f"error: {error}")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f" at {error.filename}" if error.filename else ""
            sys.exit(
                f"error: {error.strerror}{where}; make room and give the same command again, a "
                "training with ckpt_path=auto"
            )

    return wrapped


def _is_of_hydra(error: Exception) -> bool:
    return isinstance(error, CompactHydraException | OmegaConfBaseException)


def names_in_a_list(error: Exception) -> bool:
    """Return whether an override has a name where a list wants a number.

    OmegaConf lets Python's ValueError of this through, while Hydra applies the overrides.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return not _is_of_hydra(error) and any(
        frame.name == "_apply_overrides_to_config" for frame in frames
    )


def explain(error: Exception, config_name: str) -> str:
    """Return one line about a configuration that does not compose, with the nearest name."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error)
    if isinstance(error, OverrideParseException):
        name, equals, value = error.override.partition("=")
        if not equals:
            return f"{name!r} has no value; wanted {name}=VALUE"
        return _one_line(
            f"{error.override} cannot be read; a value with = , ( ) {{ }} [ ] quotes or spaces "
            f"wants quotes of its own: {name}={quoted(value)}, and the shell's around all of it"
        )
    if names_in_a_list(error):
        name = str(error).rpartition(": ")[2]
        return (
            f"an override names {name} in a list; wanted an entry's number, or the whole list: "
            "KEY=[...]"
        )
    key = re.search(r"Could not override '([^']+)'", str(error))
    if key and not key[1].startswith("hydra"):
        return unknown_key(key[1], config_name)
    causes = [str(e) for e in (error, error.__cause__) if e]
    return _one_line(" ".join(causes))


def no_option(overrides: list[str]) -> str | None:
    """Return one line about a group whose option cannot be a name, where Hydra has a traceback."""
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            continue  # a flag, or what Hydra refuses
        name, value = override.key_or_group, override.value()
        names = value if isinstance(value, list) and not override.is_delete() else [value]
        if (
            name not in groups()
            or override.is_sweep_override()
            or (override.is_delete() and value in (None, ""))
            or all(isinstance(one, str) and len(one) < LONG for one in names)
        ):
            continue
        got = "null" if value is None else f"{value}"[:LONG]
        options = sorted(file.stem for file in Path(config_dir(), name).glob("*.yaml"))
        return f"{name}: got {got}, wanted one of {options}"
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    if group.startswith("hydra/"):
        return (
            f"{group} has no option {option!r} in this environment; joblib, submitit_local, ray "
            "and optuna come with the extra `sweeps`: pip install 'sali[sweeps]'"
        )
    if not error.options:
        return " ".join(str(error).splitlines()[0].split())
    options = sorted(error.options)
    return f"{group} has no option {option!r}{nearest(option, options)}; there are {options}"
