"""Run numbered cases in child processes, and tell which of them went wrong and how."""

import faulthandler
import importlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from sali.errors import UserError

MEMORY = 2 << 30
"""Bytes that cases may take more than the process had before the first one."""
PREPARING = 300
"""Seconds that the preparation of a kind may take."""
Case = Callable[[np.random.Generator], Any]


class WrongError(Exception):
    """A result that is not of the right kind; also what a case raises for several lines."""


@dataclass(frozen=True)
class Kind:
    """A kind of cases.

    Attributes:
        prepare: Makes the undamaged inputs in an empty folder; returns the function that does one
            case, given its random numbers, with that folder as its only place to write.
        refusals: Errors that a damaged input may give.
        one_line: Whether the text of such an error must be one line.
        seconds: Longest time that one case may compute.
    """

    prepare: Callable[[Path], Case]
    refusals: tuple[type[Exception], ...] = (UserError,)
    one_line: bool = True
    seconds: float = 10


KINDS = {
    "frames": "images",
    "masks": "images",
    "videos": "videos",
    "checkpoints": "checkpoints",
    "splits": "tables",
    "coco": "tables",
    "csv": "tables",
    "configs": "configs",
    "operators": "operators",
    "stream": "stream",
}
"""Modules of this package by the names of the kinds that they hold."""


def kind_of(name: str) -> Kind:
    """Return a kind by its name; what it needs is imported then."""
    return getattr(importlib.import_module(f"fuzz.{KINDS[name]}"), name.upper())


@dataclass
class Tally:
    """What became of the cases of a kind.

    Attributes:
        accepted: Number of cases with a result.
        refused: Number of cases with an error that is allowed.
        wrong: Number of each other case, and what happened.
        seconds: Time that all cases computed.
        slowest: That of the longest one.
        memory: Most memory of a process that did them, in bytes.
    """

    accepted: int = 0
    refused: int = 0
    wrong: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0
    slowest: float = 0
    memory: int = 0

    @property
    def tried(self) -> int:
        return self.accepted + self.refused + len(self.wrong)


def random_of(name: str, seed: int, number: int) -> np.random.Generator:
    """Return the random numbers of one case."""
    return np.random.default_rng([seed, number, zlib.crc32(name.encode())])


def fuzz(
    kinds: Sequence[str],
    cases: int,
    seed: int,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Tally]:
    """Do the cases 0 to `cases` - 1 of every kind.

    Args:
        kinds: Names of kinds, see `KINDS`.
        cases: Number of cases of each.
        seed: Seed of all.
        tell: Takes a line for every case that goes wrong.

    Returns:
        What became of them, by kind.
    """
    tallies = {name: Tally() for name in kinds}
    todo = [(name, 0) for name in kinds]
    with tempfile.TemporaryDirectory(prefix="fuzz") as scratch:
        while todo:
            _watch_child(todo, cases, seed, Path(scratch), tallies, tell)
    return tallies


def _watch_child(
    todo: list[tuple[str, int]],
    cases: int,
    seed: int,
    scratch: Path,
    tallies: dict[str, Tally],
    tell: Callable[[str], object],
) -> None:
    """Start a child and follow it; `todo` is what is left when it has ended or was ended."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    last_words = scratch / "stderr"
    folder = Path(tempfile.mkdtemp(dir=scratch))
    child = context.Process(
        target=_child, args=(theirs, list(todo), cases, seed, folder, last_words)
    )
    child.start()
    theirs.close()
    why, seconds, of_one = "", PREPARING, 0.0
    try:
        while todo:
            name, number = todo[0]
            if not _answers(ours, child.pid, seconds):
                why = f"no answer in {seconds:.0f} s"
                break
            message = ours.recv()
            if isinstance(message, str):
                raise RuntimeError(message)
            if isinstance(message, float):  # the preparation is over
                seconds = of_one = message
                continue
            seconds = of_one
            tally = tallies[name]
            what, text, took, tally.memory = message
            tally.seconds += took
            tally.slowest = max(tally.slowest, took)
            if what == "wrong":
                tally.wrong.append((number, text))
                tell(f"{name} {number}: {text}")
            else:
                setattr(tally, what, getattr(tally, what) + 1)
            todo[0] = (name, number + 1)
            if number + 1 >= cases:
                todo.pop(0)
                seconds = PREPARING
    except EOFError:
        child.join()
        words = last_words.read_text(errors="replace") if last_words.is_file() else ""
        why = f"the process died, exit code {child.exitcode}: {' | '.join(words.splitlines()[:8])}"
    if todo:
        child.kill()
        name, number = todo[0]
        tallies[name].wrong.append((number, why))
        tell(f"{name} {number}: {why}")
        todo[0] = (name, number + 1)
        if number + 1 >= cases:
            todo.pop(0)
    child.join()
    ours.close()


def _answers(conn: Connection, process: int | None, seconds: float) -> bool:
    """Wait for a message for some seconds of computing, or ten times as long by the clock."""
    until, began = time.monotonic() + 10 * seconds, _computed(process)
    while not conn.poll(1):
        if _computed(process) - began > seconds or time.monotonic() > until:
            return False
    return True


def _computed(process: int | None) -> float:
    """Return the seconds that a process has computed."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _child(
    conn: Connection,
    todo: list[tuple[str, int]],
    cases: int,
    seed: int,
    folder: Path,
    last_words: Path,
) -> None:
    words = last_words.open("w")
    os.dup2(words.fileno(), 2)  # decoders in C complain there
    faulthandler.enable(words)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.chdir(folder)
    for name, first in todo:
        kind = kind_of(name)
        own = folder / name
        own.mkdir()
        try:
            case = kind.prepare(own)
        except Exception as error:
            conn.send(f"{name} cannot be prepared: {type(error).__name__}: {_brief(error)}")
            return
        limit_memory()
        conn.send(float(kind.seconds))
        for number in range(first, cases):
            began = time.process_time()
            what, text = outcome(kind, case, random_of(name, seed, number), own)
            took = time.process_time() - began
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            words.truncate(0)
            conn.send((what, text, took, memory))


def limit_memory() -> None:
    """Let allocations fail that take more than `MEMORY` on top of what is in use."""
    with open("/proc/self/status") as file:
        used = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, hard))


def outcome(kind: Kind, case: Case, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
    """Do a case; return "accepted", "refused" or "wrong", and what is to be said of it."""
    try:
        with deeds_outside(folder) as deeds:
            case(rng)
        what, text = "accepted", ""
    except kind.refusals as error:
        what, text = "refused", str(error)
        if not text.strip() or (kind.one_line and len(text.splitlines()) > 1):
            what, text = "wrong", f"{type(error).__name__} is not one line: {text!r}"
    except BaseException as error:
        what, text = "wrong", f"{type(error).__name__}: {_brief(error)}"
    if deeds:
        what, text = "wrong", f"{', '.join(deeds[:3])} ({text})"
    return what, text


def _brief(error: BaseException) -> str:
    """Return an error's text and where it was raised."""
    trace, places = error.__traceback__, []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{' '.join(str(error).split())[:500]} at {' < '.join(places[:-7:-1])}"


# --- deeds ---

_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen")
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")
_CONNECTS = ("socket.connect", "socket.getaddrinfo")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_deeds: list[str] | None = None
_home = ""
_is_hooked = False


class deeds_outside:  # noqa: N801
    """Collect what is done meanwhile that no reader should: programs, connections, writing."""

    def __init__(self, folder: Path) -> None:
        global _is_hooked, _home
        _home = str(folder)
        if not _is_hooked:
            sys.addaudithook(_note)
            _is_hooked = True

    def __enter__(self) -> list[str]:
        global _deeds
        _deeds = []
        return _deeds

    def __exit__(self, *_: object) -> None:
        global _deeds
        _deeds = None


def _note(event: str, args: Sequence[Any]) -> None:
    if _deeds is None:
        return
    if event in _STARTS or event in _CONNECTS:
        _deeds.append(f"{event} {args[:2]}")
    elif (event == "open" and args[2] & _WRITING) or event in _CHANGES:
        path = args[0]
        # An open file, or a name within an open folder, as `shutil.rmtree` has them.
        if isinstance(path, int) or (event in ("os.remove", "os.rmdir") and args[1] != -1):
            return
        full = os.path.realpath(os.fsdecode(path))
        if not full.startswith(_home) and full != "/dev/null":
            _deeds.append(f"{event} {full}")
