"""What ended a process that reads ahead, in words that help."""

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
"""Where PyTorch's processes leave batches for each other, on Linux."""
_BUS_ERROR = getattr(signal, "SIGBUS", None)  # a write to shared memory that is full


def lost_worker(
    error: BaseException, prefix: str = "", exit_codes: Sequence[int | None] = ()
) -> str | None:
    """Return why a process of a loader died and what to do, in one line.

    Args:
        error: What the process that waited for it raised.
        prefix: What is before the names of settings, "data." in a training.
        exit_codes: Exit codes of the loader's processes, if they are known.

    Returns:
        None if no process died, and nothing that processes share ran out.
    """
    text = f"{error} {error.__cause__}"
    fix = f"{prefix}num_workers=0"
    if "shared memory" in text or "Bus error" in text or (_BUS_ERROR and -_BUS_ERROR in exit_codes):
        return (
            f"a process that reads ahead ran out of shared memory ({_size(SHARED_MEMORY)}): start "
            f"the container with --shm-size=8g or --ipc=host, or give {fix}"
        )
    if "ancdata" in text or "Too many open files" in text:
        return f"too many open files: raise the limit with ulimit -n 65536, or give {fix}"
    if any(exit_codes) or "DataLoader worker (pid" in text:
        return (
            "a process that decodes was killed, most likely for lack of memory; give a smaller "
            f"{prefix}prefetch_factor, or {fix}"
        )
    return None


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return "of this machine"
    return f"{folder} holds {shutil.disk_usage(folder).total / 2**20:.0f} MiB"
