"""Networks from plain configuration nodes, as checkpoints hold them."""

import functools
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import nn

from sali.errors import ConfigError

PACKAGES = ("sali", "torch", "torchvision", "timm", "segmentation_models_pytorch")
"""Packages whose networks a checkpoint may name without the user's consent."""


def instantiate(node: Any, trust: Collection[str] | None = ()) -> Any:
    """Build what a node describes: `_target_`, `_partial_` and arguments, nested.

    A subset of Hydra's `instantiate` that reads plain values only: no interpolation and no
    positional arguments.

    Args:
        node: Mapping, list or plain value.
        trust: Packages that may be used in addition to the networks of `PACKAGES`; None trusts
            all, for the user's own configuration.

    Raises:
        ConfigError: An untrusted or unknown target, an unknown or missing argument.
        ValueError: What the target itself refuses.
    """
    if isinstance(node, list | tuple):
        return [instantiate(item, trust) for item in node]
    if not isinstance(node, Mapping):
        return node
    arguments = {
        str(key): instantiate(value, trust)
        for key, value in node.items()
        if not str(key).startswith("_")
    }
    if "_target_" not in node:
        return arguments
    odd = [str(k) for k in node if str(k).startswith("_") and k not in ("_target_", "_partial_")]
    if odd:
        raise ConfigError(f"{node['_target_']}: got {', '.join(odd)}, wanted named arguments only")
    name = str(node["_target_"])
    package = name.split(".")[0]
    if trust is not None and package not in {*PACKAGES, *trust}:  # nothing of it is imported
        raise ConfigError(
            f"the network is {name}, of a package whose code would be run; if you trust it: "
            f"trust=[{package}]"
        )
    target = find_target(name)
    if trust is not None:
        _check_kind(name, target, trust)
    partial = bool(node.get("_partial_"))
    signature = inspect.signature(target)
    try:
        (signature.bind_partial if partial else signature.bind)(**arguments)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error
    return functools.partial(target, **arguments) if partial else target(**arguments)


def find_target(name: str) -> Callable[..., Any]:
    """Import the class or function of a dotted name."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:count])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(f"{error.name}.")):
                continue
            raise ConfigError(f"{name} needs {error.name}, which is not installed") from error
        try:
            for part in parts[count:]:
                found = getattr(found, part)
        except AttributeError as error:
            raise ConfigError(f"{name}: {error}") from error
        if not callable(found):
            raise ConfigError(f"{name} is a {type(found).__name__}; wanted a class or a function")
        return found
    hint = ": pip install 'sali[baselines]'" if parts[0] == PACKAGES[-1] else ""
    raise ConfigError(f"{name}: no module {parts[0]!r} on this machine{hint}")


def _check_kind(name: str, target: Callable[..., Any], trust: Collection[str]) -> None:
    """Refuse anything but classes of networks, of packages that only `PACKAGES` trusts."""
    home = str(getattr(target, "__module__", "") or "")
    if home.split(".")[0] in trust:
        return
    is_network = isinstance(target, type) and issubclass(target, nn.Module)
    is_part = isinstance(target, type) and home.startswith("sali.models.")
    if not (is_network or is_part) or home.split(".")[0] not in PACKAGES:
        raise ConfigError(
            f"{name} is no class of a network; a checkpoint may build only those, unless you trust "
            f"its package: trust=[{home.split('.')[0] or name.split('.')[0]}]"
        )
