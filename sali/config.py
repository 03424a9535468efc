"""Where the YAML files are, and the check that a composed configuration has no stray key."""

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sali.errors import ConfigError
from sali.run.processes import is_first, started

GLOBAL_GROUPS = ("experiment", "ablation", "sweep", "debug")
"""Groups whose files change other groups' keys; they may not bring keys of their own."""

PACKAGE_DIR = Path(__file__).parent

OmegaConf.register_new_resolver("started", started, replace=True)
OmegaConf.register_new_resolver(
    "in_first_process", lambda name: name if is_first() else None, replace=True
)


def config_dir() -> str:
    """Folder of the YAML files: beside the package in a checkout, inside it when installed."""
    installed = PACKAGE_DIR / "configs"
    return str(installed if installed.is_dir() else PACKAGE_DIR.parent / "configs")


def _key_paths(node: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of all keys of nested mappings; what Hydra itself reads is left out."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "hydra" and not path:
                continue
            here = f"{path}.{key}" if path else str(key)
            yield here
            yield from _key_paths(value, here)


@cache
def known_keys(root: Path) -> frozenset[str]:
    """Every key that the base files (all but those of `GLOBAL_GROUPS`) declare."""
    keys: set[str] = set()
    for file in sorted(root.rglob("*.yaml")):
        group = file.relative_to(root).parent.as_posix()
        if group.split("/")[0] in (*GLOBAL_GROUPS, "hydra"):
            continue
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if isinstance(content, dict):
            content.pop("defaults", None)
        prefix = "" if group == "." else group.replace("/", ".")
        keys.update(_key_paths(content, prefix))
        parts = prefix.split(".") if prefix else []
        keys.update(".".join(parts[: i + 1]) for i in range(len(parts)))
    return frozenset(keys)


def _accepted_arguments(target: str) -> set[str] | None:
    """Names of the arguments that a ``_target_`` takes; None if it takes any."""
    parameters = inspect.signature(get_object(target)).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters}


def check_config(cfg: DictConfig) -> None:
    """Refuse keys that nothing reads and values that are missing, before anything is loaded.

    A key is known if a base file declares it, or if the ``_target_`` beside it takes it.

    Raises:
        ConfigError: naming the key, with the nearest known one.
    """
    known = known_keys(Path(config_dir()))
    container = OmegaConf.to_container(cfg, resolve=False)
    _check_node(container, "", known)
    try:
        OmegaConf.to_container(cfg, resolve=True)
        missing = sorted(OmegaConf.missing_keys(cfg))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the configuration cannot be resolved: {reason}") from error
    if missing:
        raise ConfigError(
            f"no value for {', '.join(missing)}; give it on the command line, e.g. {missing[0]}=..."
        )


def _check_node(node: Any, path: str, known: Set[str]) -> None:
    if isinstance(node, list):
        for item in node:
            _check_node(item, path, known)
    if not isinstance(node, dict):
        return
    accepted = None
    if "_target_" in node:
        accepted = _accepted_arguments(node["_target_"])
    for key, value in node.items():
        here = f"{path}.{key}" if path else str(key)
        if str(key).startswith("_") or (not path and key == "hydra"):
            continue
        if accepted is not None and key not in accepted:
            own = {f"{path}.{name}" for name in accepted}
            raise ConfigError(f"unknown key {here!r}{suggested_key(here, own)}")
        if "_target_" not in node and here not in known:
            choices = known | groups(Path(config_dir()))
            raise ConfigError(f"unknown key {here!r}{suggested_key(here, choices)}")
        _check_node(value, here, known)


def suggested_key(key: str, known: Set[str] | None = None) -> str:
    """The nearest key as "; did you mean ...?", or what else its section holds.

    Args:
        key: dotted path, or the name of a group (`data/transform`).
        known: to choose from; all keys and groups if None.
    """
    if known is None:
        known = known_keys(Path(config_dir())) | groups(Path(config_dir()))
    section, _, leaf = key.rpartition(".")
    beside = sorted(k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == section)
    elsewhere = sorted(k for k in known if k.rpartition(".")[2] == leaf)
    near = nearest(leaf, beside, f"{section}." if section else "")
    if near or elsewhere:
        return near or f"; did you mean {' or '.join(map(repr, elsewhere))}?"
    return f"; {section} has {beside}" if section and beside else nearest(key, known)


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The nearest name, behind a prefix, as "; did you mean ...?"; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {prefix + near[0]!r}?" if near else ""


def groups(root: Path) -> set[str]:
    """Names of all config groups, such as `data/transform`."""
    return {f.parent.relative_to(root).as_posix() for f in root.rglob("*.yaml")} - {"."}


def build(node: Any, **kwargs: Any) -> Any:
    """Hydra's ``instantiate``; a refusal by the thing built becomes a ConfigError."""
    try:
        return instantiate(node, _convert_="all", **kwargs)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValueError | TypeError):
            target = node.get("_target_", "?") if isinstance(node, Mapping) else "?"
            raise ConfigError(f"{target}: {cause}") from error
        raise
