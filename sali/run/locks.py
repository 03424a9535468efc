"""Locks on files, which end with the process that holds them, however it ends."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    def lock(file: IO[Any], start: int = 0, length: int = 0) -> bool:
        """Lock bytes of an open file for this process; return whether no other process has."""
        file.seek(start)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, length or 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
else:

    def lock(file: IO[Any], start: int = 0, length: int = 0) -> bool:
        """Lock bytes of an open file for this process; return whether no other process has.

        A length of 0 is that of all bytes that follow. Processes that this one starts do not
        inherit the lock, and so cannot outlive it with it.
        """
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            return False
        return True


@contextmanager
def locked(path: Path, names: Sequence[str]) -> Iterator[str | None]:
    """Lock names of things in a folder while the block runs, one file for all processes.

    Each name has a byte of the file, by its hash; so processes that have different names run
    side by side. Who leaves last removes the file, and the folder if it was made and is empty.

    Yields:
        The first name that another process has; None if all are locked.
    """
    is_new = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("a")
        taken = next((name for name in names if not lock(file, _byte(name), 1)), None)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()  # the process that had it removed it meanwhile
    try:
        yield taken
    finally:
        if os.name == "posix" and lock(file):  # no other process has a part of it
            path.unlink(missing_ok=True)
        file.close()
        if is_new:
            with suppress(OSError):  # something was written, or another process is there
                path.parent.rmdir()


def _byte(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:7])
