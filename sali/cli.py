"""How the commands end: user errors as one line and exit code 1."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from sali.errors import UserError


def command(main: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Turn a ``UserError`` into ``error: <one line>`` on stderr and exit code 1."""

    @functools.wraps(main)
    def wrapped(cfg: DictConfig) -> Any:
        try:
            return main(cfg)
        except UserError as error:
            # An error from a loader process carries that process's traceback in its message.
            lines = str(error).strip().splitlines()
            sys.exit(f"error: {lines[-1].removeprefix(_origin(error))}")

    return wrapped


def _origin(error: UserError) -> str:
    return f"{type(error).__module__}.{type(error).__name__}: "
