"""The ways of disturbing a command.

Each is a generator of three parts: what is done before the command starts; then at the moment; then
after its end, so that the same command can go on.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from faults.kinds import SUBSET
from faults.processes import Run

DAY_BACK = "-1d"


class SkippedError(Exception):
    """What a way needs is not on this machine."""


@dataclass
class Case:
    """A case in work.

    Attributes:
        folder: Its own folder; `inputs` is a copy, `out/result` takes the results.
        size: Bytes of the results of an undisturbed run.
        share: Moment as share of the undisturbed work.
        environment: Variables of the disturbed command, see `Run`.
        run: The disturbed command, once it is started.
    """

    folder: Path
    size: int
    share: float
    environment: dict[str, str] | None = None
    run: Run | None = None

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def output(self) -> Path:
        return self.folder / "out/result"

    def signal(self, number: signal.Signals, group: bool = True) -> None:
        assert self.run is not None
        self.run.signal(number, group)


Steps = Generator[None, None, None]
Way = Callable[[Case], Steps]


def kill(case: Case) -> Steps:
    """Kill all processes of the command."""
    yield
    case.signal(signal.SIGKILL)
    yield


def term(case: Case) -> Steps:
    """Ask the first process to end."""
    yield
    case.signal(signal.SIGTERM, group=False)
    yield


def stop(case: Case) -> Steps:
    """Stop all processes for a second."""
    yield
    case.signal(signal.SIGSTOP)
    time.sleep(1)
    case.signal(signal.SIGCONT)
    yield


def full(case: Case) -> Steps:
    """Let the disk be full after a share of the results."""
    with_results = case.output.parent
    _mount(with_results, 4 * case.size + (2 << 20))
    ballast = with_results / "ballast"
    room = shutil.disk_usage(with_results).free
    try:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, room - int(max(0, case.share) * case.size)))
        yield
        yield
        ballast.unlink()
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(with_results)], check=True)


def readonly(case: Case) -> Steps:
    """Let the disk of the results be read-only."""
    folder = case.output.parent
    _mount(folder, 4 * case.size + (2 << 20), "ro")
    try:
        yield
        yield
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(folder: Path, size: int, more: str = "rw") -> None:
    if os.name != "posix" or os.geteuid() or shutil.which("mount") is None:
        raise SkippedError("mounting needs root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},{more}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        raise SkippedError("mounting is not allowed here")


def worker(case: Case) -> Steps:
    """Kill a process that reads ahead, if one is there within some seconds."""
    yield
    assert case.run is not None
    until = time.monotonic() + 30
    while case.run.code() is None and time.monotonic() < until:
        if found := case.run.workers():
            os.kill(found[0], signal.SIGKILL)
            break
        time.sleep(0.002)
    yield


def vanish(case: Case) -> Steps:
    """Rename the folder of the frames, and back afterwards."""
    moved = case.folder / "elsewhere"
    yield
    (case.inputs / "data").rename(moved)
    yield
    moved.rename(case.inputs / "data")
    yield


def truncate(case: Case) -> Steps:
    """Cut off the last frame of every clip, and mend it afterwards."""
    roots = [case.inputs / "data" / name for name in (f"{SUBSET}/Frame", "TrainDataset/Frame")]
    last = [max(clip.iterdir()) for root in roots for clip in root.iterdir()]
    kept = {path: path.read_bytes() for path in last}
    yield
    for path, content in kept.items():
        path.write_bytes(content[: len(content) // 3])
    yield
    for path, content in kept.items():
        path.write_bytes(content)
    yield


def clock(case: Case) -> Steps:
    """Set the clock back by a day; what counts the seconds since a start is left alone."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    if not found:
        raise SkippedError("libfaketime is not installed")
    offset = case.folder / "offset"
    offset.write_text("+0")
    case.environment = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    yield
    offset.write_text(DAY_BACK)
    yield


WAYS: dict[str, Way] = {"kill": kill, "term": term, "stop": stop}
"""Done at many moments of every kind."""
FURTHER: dict[str, Way] = {
    "full": full,
    "readonly": readonly,
    "worker": worker,
    "vanish": vanish,
    "truncate": truncate,
    "clock": clock,
}
"""Done once to a training and a prediction of a folder."""
UNNOTICED = (stop, clock)
"""After these the disturbed command itself ends well."""
DEADLY = (kill, term)
"""These may end it by a signal."""
