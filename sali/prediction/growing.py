"""A text file that appears when it is whole, and can be taken up where it was saved."""

import os
from pathlib import Path

from sali.errors import DataError


class GrowingFile:
    """``.<name>.partial`` while it grows, ``<name>`` when it is whole.

    Args:
        final: its path when it is whole.
        saved: bytes of the partial file to go on from; None begins anew.

    Raises:
        DataError: the partial file does not hold what was saved.
    """

    def __init__(self, final: Path, saved: int | None = None) -> None:
        self._final = final
        self._partial = final.with_name(f".{final.name}.partial")
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        if saved is not None:
            if not self._partial.is_file() or self._partial.stat().st_size < saved:
                raise DataError(f"{self._partial} is missing or shorter than it was")
            os.truncate(self._partial, saved)
        self._file = self._partial.open("w" if saved is None else "a", newline="", encoding="utf-8")

    def write(self, text: str) -> int:
        return self._file.write(text)

    def save(self) -> int:
        """Bring everything to disk; the size in bytes."""
        self._file.flush()
        return self._partial.stat().st_size

    def finish(self) -> None:
        self._file.close()
        self._partial.replace(self._final)

    def suspend(self) -> None:
        """Close it and keep what is there."""
        self._file.close()

    def discard(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)
