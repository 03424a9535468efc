"""Training frames and masks kept as they were decoded, so that later epochs need not decode."""

import logging
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from sali.data.index import Clip
from sali.data.listing import state_of
from sali.errors import ConfigError, DataError

log = logging.getLogger(__name__)

RAM = "ram"
CHECKSUM_BYTES = 4
RECORD = "checksum, frame [S, S, 3], mask [S, S]"
"""Content of a file, one record after another; a file of another kind gets another name."""


class FrameCache:
    """Frames and masks at the network's size, written when first asked for.

    Every frame has its place in a file, so that loader processes, ranks and other runs fill the
    same files without waiting for each other: equal frames give equal bytes, and a record counts
    only if its checksum fits. One that is missing, half written or damaged is decoded again.

    Args:
        where: "ram", which ends with the process that made it, or a folder. In a folder each clip
            has a file whose name changes with its files' paths, sizes and times, so that nothing
            old is ever read; files of old names are left for the user to delete.
        clips: Clips with a mask for every frame.
        side: Side of the frames in pixels.

    Raises:
        ConfigError: "ram" where there is too little, or on a system that lacks it.
        DataError: A folder that cannot be made.
    """

    def __init__(self, where: str, clips: Sequence[Clip], side: int) -> None:
        self.side = side
        self.record_bytes = CHECKSUM_BYTES + side * side * 4
        lengths = [len(clip.frames) for clip in clips]
        total = sum(lengths) * self.record_bytes
        log.info(
            "data.cache=%s will take up to %.1f GiB; the first epoch, which fills it, is slower",
            where,
            total / 2**30,
        )
        if where == RAM:
            # One file for all; the number of the process makes it reachable from loader processes.
            self._memory = _anonymous_file(total)
            path = Path(f"/proc/{os.getpid()}/fd/{self._memory.fileno()}")
            starts = np.cumsum([0, *lengths]).tolist()
            self._places = [(path, start) for start in starts[:-1]]
        else:
            folder = Path(where)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"cannot make data.cache: {error}") from error
            basis = f"{RECORD} {side} pillow {PIL.__version__}\n"
            states = [state_of([*c.frames, *filter(None, c.masks)], basis)[:16] for c in clips]
            names = [f"{c.name}-{state}.frames" for c, state in zip(clips, states, strict=True)]
            self._places = [(folder.resolve() / name, 0) for name in names]

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the memory itself, which belongs to the process that made it."""
        return {key: value for key, value in self.__dict__.items() if key != "_memory"}

    def load(self, c: int, i: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return frame [S, S, 3] and mask [S, S] of 0 and 1, uint8 read-only; None if not kept."""
        path, start = self._places[c]
        try:
            with path.open("rb", buffering=0) as file:
                record = os.pread(file.fileno(), self.record_bytes, (start + i) * self.record_bytes)
        except FileNotFoundError:
            return None
        content = memoryview(record)[CHECKSUM_BYTES:]
        if len(record) < self.record_bytes or record[:CHECKSUM_BYTES] != _checksum(content):
            return None
        planes = np.frombuffer(content, np.uint8)
        frame, mask = np.split(planes, [self.side * self.side * 3])
        return frame.reshape(self.side, self.side, 3), mask.reshape(self.side, self.side)

    def store(self, c: int, i: int, frame: np.ndarray, mask: np.ndarray) -> None:
        """Keep a frame and its mask."""
        path, start = self._places[c]
        content = frame.tobytes() + mask.tobytes()
        record = _checksum(content) + content
        assert len(record) == self.record_bytes
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                written = os.pwrite(descriptor, record, (start + i) * self.record_bytes)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DataError(f"cannot write data.cache: {error}") from error
        if written < len(record):
            raise DataError(f"cannot write data.cache: no space left for {path}")


def _checksum(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little")


def _anonymous_file(num_bytes: int) -> Any:
    """Return a file that is only in memory and ends with the process."""
    if not hasattr(os, "memfd_create"):
        raise ConfigError("data.cache=ram needs Linux; give a folder instead")
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if num_bytes > available:
        raise ConfigError(
            f"data.cache=ram needs {num_bytes / 2**30:.1f} GiB and the machine has "
            f"{available / 2**30:.1f}; give a folder, or lower data.image_size"
        )
    return os.fdopen(os.memfd_create("sali"), "r+b")
