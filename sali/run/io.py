"""Files and folders that are whole or absent, and JSON files."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sali.errors import ConfigError, DataError, OvertakenError


@contextmanager
def atomic_write(path: Path, sync: bool = False) -> Iterator[Path]:
    """Provide a temporary path in the same folder, renamed to `path` when the block succeeds.

    Readers see the old content or the new one, never a part. If the block fails, the temporary
    file is removed and what was there stays. A folder must not exist yet; its parent is created.
    With `sync` the file is on disk before the rename, so that it survives a power cut.

    Yields:
        `.<name>.<process id>.partial`, which the block writes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        if sync:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        put_in_place(partial, path)
    finally:  # nothing is left to remove after the rename
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def put_in_place(whole: Path, path: Path) -> None:
    """Rename a file, in place of one that is there, or a folder, which must not be there.

    Raises:
        OvertakenError: A folder that is there: another process wrote it meanwhile.
    """
    try:
        whole.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise OvertakenError(
            f"{path} was written by another process meanwhile and is left as it is"
        ) from error


def require_writable(folder: Path) -> None:
    """Refuse a folder, which may be absent, for results that could not be written to it.

    Raises:
        ConfigError: It, or what it should be in, is a file or write-protected.
    """
    above = (path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    there = next(above)
    if not there.is_dir():
        raise ConfigError(f"output {there} is a file; wanted a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"output {there} cannot be written to; choose another")


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically, and its folder."""
    with atomic_write(path) as partial:
        partial.write_text(content, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write a JSON file atomically, and its folder; without an indent, in one line."""
    separators = (",", ":") if indent is None else None
    write_text(path, json.dumps(content, indent=indent, separators=separators) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if the file does not exist.

    Raises:
        DataError: The file is not JSON, or holds no mapping.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}; was it cut off?") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; wanted {{...}}")
    return content
