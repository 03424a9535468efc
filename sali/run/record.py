"""What a run writes about itself: run.json, and status.json from start to end."""

import logging
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sali import __version__
from sali.run.processes import is_first
from sali.run.state import last_checkpoint, set_failed, set_state, watched

log = logging.getLogger(__name__)

PACKAGES = (
    *("torch", "torchvision", "lightning", "hydra-core"),
    *("timm", "albumentations", "torchmetrics", "numpy"),
)


def git_commit() -> str | None:
    """Return the commit of the checkout, with `+changes` if it was edited; None without git."""
    here = Path(__file__).parent

    def git(*command: str) -> str:
        done = subprocess.run(
            ["git", *command], cwd=here, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def provenance(**more: Any) -> dict[str, Any]:
    """Return command, code, versions and machine of this process, and what the caller adds."""
    import torch

    return {
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "sali": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "torch_threads": torch.get_num_threads(),
        **more,
    }


@contextmanager
def tracked(folder: Path) -> Iterator[None]:
    """Keep `status.json` true: running, then finished, interrupted, or failed with the error.

    Of several processes the first one writes, and is watched in case it is killed; any of them
    reports a failure.
    """
    first = is_first()
    if first:
        (folder / "metrics.json").unlink(missing_ok=True)  # of an earlier run in the same folder
        set_state(folder, "running")
    try:
        with watched(folder) if first else nullcontext():
            yield
    except KeyboardInterrupt:
        if first:
            how = "there is no checkpoint yet: give the same command again"
            if last_checkpoint(folder):
                how = f"resume with ckpt_path=auto hydra.run.dir={folder}"
            set_state(folder, "interrupted", f"Ctrl-C; {how}")
            log.warning("interrupted; %s", how)
        raise
    except BaseException as error:
        set_failed(folder, f"{type(error).__name__}: {error}")
        raise
    if first:
        set_state(folder, "finished")
