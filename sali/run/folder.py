"""Whose a run's folder is: one process's at a time, and one training's for good."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sali.errors import ConfigError
from sali.run.io import read_json
from sali.run.locks import lock
from sali.run.processes import is_first
from sali.run.state import METRICS, STATUS, is_finished

LOCK = ".train.lock"
RECORD = "run.json"
_NOT_COMPARED = ("ckpt_path", "hydra", "paths")
RESUMED = (
    *("seed", "optimizer", "scheduler", "weight_decay", "backbone_lr_ratio", "loss", "data"),
    *("model", "backbone", "memory", "align", "fusion", "compat", "context_gradient"),
)
"""Settings that a resumed training goes on with, whatever the command says."""
_MAY_CHANGE = (
    *("root", "cache", "num_workers", "prefetch_factor", "pin_memory"),
    *("test_subsets", "corruption"),
)
"""Settings of the data that change nothing in a training."""

_held: dict[Path, IO[str]] = {}


def claim(folder: Path, config: Mapping[str, Any]) -> None:
    """Take the folder of a run for a training in this process, until its end or `claimed`'s.

    The configuration, here and below, is the unresolved one.

    Raises:
        ConfigError: Another process trains in it, a training of other settings finished in it, or
            it holds results that no run wrote.
    """
    folder = folder.resolve()
    if not is_first() or folder in _held:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / LOCK).open("a")
    except OSError as error:
        raise ConfigError(f"the run's folder {folder} cannot be used: {error.strerror}") from error
    try:
        if not lock(held):
            raise ConfigError(
                f"another training runs in {folder}; wait for its end, or choose another "
                "hydra.run.dir"
            )
        _refuse_others(folder, config)
    except ConfigError:
        held.close()
        raise
    _held[folder] = held


@contextmanager
def claimed(folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Have the folder of a run, see `claim`, until the block ends."""
    claim(folder, config)
    try:
        yield
    finally:
        held = _held.pop(folder.resolve(), None)
        if held is not None:
            held.close()


def _refuse_others(folder: Path, config: Mapping[str, Any]) -> None:
    if (folder / METRICS).exists() and not (folder / STATUS).exists():
        raise ConfigError(
            f"{folder} holds a {METRICS} that no training wrote; choose another hydra.run.dir"
        )
    if not is_finished(folder) or config.get("ckpt_path") is not None:
        return
    old = read_json(folder / RECORD).get("config", {})
    changed = difference(compared(old), compared(config))
    if changed:
        raise ConfigError(
            f"{folder} holds a finished training of other settings ({changed}); choose another "
            "hydra.run.dir, or remove it"
        )


def refuse_other_resume(checkpoint: Path, config: Mapping[str, Any]) -> None:
    """Refuse to resume a training with settings that its checkpoint would silently override."""
    record = checkpoint.resolve().parent.parent / RECORD
    old = read_json(record).get("config") if record.is_file() else None
    if old is None:  # an earlier version, or a checkpoint that was moved
        return
    changed = difference(_resumed(old), _resumed(compared(config)))
    if changed:
        raise ConfigError(
            f"{changed}: a resumed training goes on with the settings of its checkpoint; give the "
            "old value, or start a new training with init_ckpt="
        )


def _resumed(config: Mapping[str, Any]) -> dict[str, Any]:
    part = {key: config[key] for key in RESUMED if key in config}
    part["data"] = {k: v for k, v in part.get("data", {}).items() if k not in _MAY_CHANGE}
    return part


def compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that makes the training what it is, as JSON has it."""
    part = {key: value for key, value in config.items() if key not in _NOT_COMPARED}
    return dict(json.loads(json.dumps(part)))


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first setting that differs as text; "" if none does."""
    before, now = _flat(old), _flat(new)
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            return f"{key} was {before.get(key)}, is {now.get(key)}"
    return ""


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping):
        return {path: node}
    return {
        k: v
        for key, value in node.items()
        for k, v in _flat(value, f"{path}.{key}".lstrip(".")).items()
    }
