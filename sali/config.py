"""Where the YAML files are, and the check that a composed configuration has no stray key."""

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sali.errors import ConfigError
from sali.ranges import check_ranges
from sali.run.processes import is_first, started

GLOBAL_GROUPS = ("experiment", "ablation", "sweep", "debug")  # change keys of other groups
COLLECTIONS = ("callbacks", "logger", "metrics")  # hold objects under names of their own
# The checkpoint's network checks these keys.
OPEN = {("predict", "memory"), ("demo", "memory"), ("export", "memory")}
LISTS_OR_NULL = ("subsets", "categories")  # keys of lists that the files have as null
# Keys that may be null though no file has them so.
OR_NULL = {
    *("backbone.weights", "operating_point.false_alarm_rate", "threshold", "counts", "time_order")
}
HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
PACKAGE_DIR = Path(__file__).parent

OmegaConf.register_new_resolver("started", started, replace=True)
OmegaConf.register_new_resolver(
    "in_first_process", lambda name: name if is_first() else None, replace=True
)


def config_dir() -> str:
    """Return the folder of the YAML files: next to the package, or inside it when installed."""
    installed = PACKAGE_DIR / "configs"
    return str(installed if installed.is_dir() else PACKAGE_DIR.parent / "configs")


OmegaConf.register_new_resolver("sali_configs", config_dir, replace=True)


def command_file(command: str) -> Path:
    """Return the YAML file of a command of this package.

    `command` may also be the path, without suffix, of a file elsewhere whose `hydra.searchpath`
    names `file://${sali_configs:}` for the groups.
    """
    return Path(config_dir()) / f"{command}.yaml"


# --- the keys that the shipped files declare ---


def commands() -> list[str]:
    """Return the names of all commands; each has a file of its name."""
    return sorted(file.stem for file in Path(config_dir()).glob("*.yaml"))


def groups() -> set[str]:
    """Return the names of all config groups, such as `data/transform`."""
    root = Path(config_dir())
    return {f.parent.relative_to(root).as_posix() for f in root.rglob("*.yaml")} - {"."}


@cache
def known_keys(command: str) -> frozenset[str]:
    """Return every dotted key that the files of a command declare, whichever options are chosen."""
    return frozenset(_values(command))


@cache
def _values(command: str) -> dict[str, list[Any]]:
    """Return all values that the files of a command declare, by dotted key."""
    values: dict[str, list[Any]] = {}
    for key, value in _declared(Path(config_dir()), command_file(command), "."):
        values.setdefault(key, []).append(value)
    return values


def _declared(root: Path, path: Path, folder: str, package: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a file, whose groups are in `folder`, and of their options."""
    content = yaml.safe_load(path.read_text()) or {}
    defaults = content.pop("defaults", [])
    yield from _key_paths(content, package)
    for entry in defaults:
        if not isinstance(entry, Mapping):
            continue
        group, _, at = str(next(iter(entry))).split()[-1].partition("@")
        inside = Path(group[1:]) if group.startswith("/") else Path(folder) / group
        if inside.parts[0] in (*GLOBAL_GROUPS, "hydra"):
            continue
        own = _joined(package, at) if at else ".".join(inside.parts)
        yield from ((".".join(own.split(".")[: i + 1]), {}) for i in range(own.count(".") + 1))
        for option in sorted((root / inside).glob("*.yaml")):
            yield from _declared(root, option, inside.as_posix(), own)


def _joined(package: str, name: object) -> str:
    return f"{package}.{name}" if package else str(name)


def _key_paths(node: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of all keys of nested mappings, except what Hydra itself reads."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "hydra" and not path:
                continue
            yield _joined(path, key), value
            yield from _key_paths(value, _joined(path, key))


# --- the check ---


def check_config(cfg: DictConfig, command: str) -> None:
    """Refuse keys that nothing reads and values that are missing, before anything is loaded.

    A key is known if a shipped file of the command declares it. The keys of a mapping with a
    `_target_` are the arguments of that object instead, and what is below them is the object's own
    business, so an option from outside may bring any object with nested arguments. Below
    `callbacks`, `logger` and `metrics` such a mapping may have any name.

    Args:
        cfg: Composed configuration.
        command: Name of the command, e.g. "train", see `command_file`.

    Raises:
        ConfigError: A stray key, with the nearest known one; a `_target_` that cannot be imported;
            a value that is missing, cannot be resolved or is out of its range; a part of a network
            that has no such.
    """
    node: Any = OmegaConf.to_container(cfg, resolve=False)
    _check_node(node, "", command)
    if command == "train":
        _check_parts(node)
    try:
        resolved: Any = OmegaConf.to_container(cfg, resolve=True)
        missing = sorted(OmegaConf.missing_keys(cfg))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the configuration cannot be resolved: {reason}") from error
    if missing:
        raise ConfigError(
            f"no value for {', '.join(missing)}; give it on the command line, e.g. {missing[0]}=..."
        )
    check_ranges(resolved, command)


def _check_parts(node: Mapping[str, Any]) -> None:
    """Refuse choices of `memory` and `align` that the chosen model does not read.

    `none` is true of such a model, so the experiments that say it take any model.
    """
    for group, option in (("memory", "default"), ("align", "auto")):
        if f"${{{group}." in str(node["model"]):
            continue
        folder = Path(config_dir()) / group
        default = yaml.safe_load((folder / f"{option}.yaml").read_text())
        none = default | yaml.safe_load((folder / "none.yaml").read_text())
        none.pop("defaults")
        if node[group] not in (default, none):
            raise ConfigError(
                f"{group}: got another choice than {group}={option} or {group}=none, but the "
                f"chosen model, {node['model'].get('_target_')}, has no such part; leave it out "
                "or take model=sali"
            )


def _check_node(node: Any, path: str, command: str, is_free: bool = False) -> None:
    """Check a node and all below it; the keys of a free one are the business of its object."""
    if isinstance(node, list):
        for number, inner in enumerate(node):
            _check_node(inner, _joined(path, number), command, is_free=True)
    elif isinstance(node, dict) and "_target_" in node:
        _check_target(node, path, command)
    elif isinstance(node, dict) and (command, path) not in OPEN:
        for key, value in node.items():
            here = _joined(path, key)
            if here == "hydra":
                continue
            if not is_free:
                is_object = isinstance(value, dict) and "_target_" in value
                if here not in known_keys(command) and not (path in COLLECTIONS and is_object):
                    raise ConfigError(unknown_key(here, command))
                _check_kind(here, value, command)
            _check_node(value, here, command, is_free)


def _check_kind(key: str, value: Any, command: str) -> None:
    """Refuse text where the shipped files have a number, a word where they have a list, and so on.

    What a file has as null is of the kind that other commands have, if any. Text may look like a
    number.
    """
    declared = _values(command).get(key, [None])
    if "???" in declared and (value == "" or isinstance(value, list | dict | None)):
        shown = "null" if value is None else repr(value)
        raise ConfigError(f"{key}: got {shown}, wanted text: give {key}=...")
    if value is None:
        _check_null(key, declared)
        return
    if key in LISTS_OR_NULL:
        declared = [[]]
    elif all(one is None for one in declared):
        declared = [one for name in commands() for one in _values(name).get(key, [])]
    kinds = {_kind(one) for one in declared if one is not None}
    got = _kind(value)
    if not kinds or None in (got, *kinds) or got in kinds or (got != "a list" and "text" in kinds):
        return
    example = f"; say {key}=[{value}]" if kinds == {"a list"} else ""
    raise ConfigError(
        f"{key}: got {value!r}, wanted {' or '.join(sorted(map(str, kinds)))}{example}"
    )


def _check_null(key: str, declared: list[Any]) -> None:
    """Refuse null for a key whose values in the shipped files are never null nor whole objects."""

    def may_be_null(value: Any) -> bool:
        if isinstance(value, Mapping):
            return "_target_" in value or not value
        return value is None or (isinstance(value, str) and "${" in value)

    if key in OR_NULL or any(map(may_be_null, declared)):
        return
    wanted = sorted({str(_kind(one) or "a value") for one in declared})
    inner = [f"{key}.{name}" for one in declared if isinstance(one, Mapping) for name in one]
    hint = f"; it holds {', '.join(inner[:3])} ..." if inner else ""
    raise ConfigError(f"{key}: got null, wanted {' or '.join(wanted)}{hint}")


def _kind(value: Any) -> str | None:
    """Return what a value is; None for null, mappings, and what is taken from another key."""
    if isinstance(value, str):
        return None if "${" in value or value == "???" else "text"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, list):
        return "a list"
    return "a number" if isinstance(value, int | float) else None


def _check_target(node: dict[str, Any], path: str, command: str) -> None:
    """Check the arguments of a `_target_` against its signature."""
    target = str(node["_target_"])
    accepted = _accepted_arguments(target, path)
    for key, value in node.items():
        here = _joined(path, key)
        names = HYDRA_KEYS if key.startswith("_") else accepted
        if names is not None and key not in names:
            hint = nearest(key, names, f"{path}.") or f"; {target} takes {sorted(names)}"
            raise ConfigError(f"unknown key {here!r}{hint}")
        # The shipped files list the keys of some arguments of sali's own classes.
        is_free = not target.startswith("sali.")
        if not is_free:
            _check_kind(here, value, command)
            is_free = not any(k.startswith(f"{here}.") for k in known_keys(command))
        _check_node(value, here, command, is_free)


def _accepted_arguments(target: str, path: str) -> set[str] | None:
    """Return the names of the arguments that a `_target_` takes; None if it takes any."""
    from hydra.utils import get_object

    try:
        found = get_object(target)
    except Exception as error:  # anything that the user's module raises when it is imported
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(
            f"{path}._target_: got {target!r}, which cannot be imported ({reason}); wanted "
            "package.module.Name, with the package installed or on PYTHONPATH"
        ) from error
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:  # some built-in functions have none
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


# --- what to say of a key that is not known ---


def unknown_key(key: str, command: str) -> str:
    """Return the message about a key that a command does not have, with what was probably meant.

    The key is a dotted path, or the name of a group (`data/transform`).
    """
    others = [name for name in commands() if key in known_keys(name)]
    if others and command not in others:
        name = Path(command).name
        return f"unknown key {key!r} of {name}; it is a key of {', '.join(others)}"
    known = known_keys(command) | groups()
    section, _, leaf = key.rpartition(".")
    siblings = sorted(k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == section)
    elsewhere = sorted(k for k in known if k.rpartition(".")[2] == leaf)
    hint = nearest(leaf, siblings, f"{section}." if section else "")
    if not hint and elsewhere:
        hint = f"; did you mean {' or '.join(map(repr, elsewhere))}?"
    elif not hint and f"{section}._target_" in known:
        hint = f"; another argument of its _target_ is given with a plus: +{key}=..."
    elif not hint and section and siblings:
        hint = f"; {section} has {siblings}"
    return f"unknown key {key!r}{hint or nearest(key, known)}"


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean <prefix><nearest name>?", or "" if no name is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {prefix + near[0]!r}?" if near else ""


# --- building ---


def build(node: Any, **kwargs: Any) -> Any:
    """Return what Hydra's `instantiate` makes of a node.

    Raises:
        ConfigError: The object, or one within it, refuses its arguments.
    """
    from hydra.utils import instantiate

    try:
        return instantiate(node, _convert_="all", **kwargs)
    except Exception as error:
        cause = error.__cause__ or error
        from lightning.fabric.utilities.exceptions import MisconfigurationException

        if isinstance(cause, ValueError | TypeError | MisconfigurationException):
            target = node.get("_target_", "?") if isinstance(node, Mapping) else "?"
            raise ConfigError(f"{target}: {cause}") from error
        raise
