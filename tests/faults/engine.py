"""Run cases, and tell which did not survive and why."""

import os
import shutil
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults.kinds import KINDS, Kind, halves
from faults.processes import Run
from faults.ways import DEADLY, FURTHER, UNNOTICED, WAYS, Case, SkippedError, Steps, Way

LIMIT = 1200
"""Seconds after which a command counts as hanging."""
EARLY = 0.1
"""Share of the moments that lie before the first file is written."""
SETTLING = 0.5
"""Seconds from a kill to the next start; the watcher of a killed training writes in that time."""


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed.

    Attributes:
        folder: Its results.
        before: Seconds until the first file.
        work: Seconds from there to the end.
        size: Bytes of the results.
    """

    folder: Path
    before: float
    work: float
    size: int


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        way: Name of its way.
        failed: Why it failed; empty if it survived.
        skipped: Why it was not tried; empty if it was.
        code: Exit code of the disturbed command.
    """

    way: str
    failed: str = ""
    skipped: str = ""
    code: int | None = None


def way_of(name: str) -> tuple[str, Way]:
    """Return the way of a case by the case's name, a number or the name of a further way."""
    way = name if name in FURTHER else list(WAYS)[int(name) % len(WAYS)]
    return way, (FURTHER | WAYS)[way]


def undisturbed(kind: Kind, inputs: Path, folder: Path) -> Undisturbed:
    """Run a command in peace.

    Raises:
        RuntimeError: It fails.
    """
    output = folder / "out/result"
    output.parent.mkdir(parents=True)
    began = time.monotonic()
    run = Run(kind.module, kind.arguments(inputs, output), folder / "log")
    _wait_for_output(run, output.parent, LIMIT)
    before = time.monotonic() - began
    code = run.wait(LIMIT)
    if code != 0:
        raise RuntimeError(f"undisturbed, it ended with {code}: {_last_line(run.log)}")
    size = sum(path.stat().st_size for path in output.parent.rglob("*") if path.is_file())
    return Undisturbed(output, before, time.monotonic() - began - before, size)


def run_case(
    kind_name: str, name: str, seed: int, whole: Undisturbed, inputs: Path, folder: Path
) -> Outcome:
    """Run one case in a new folder."""
    kind, (way_name, way) = KINDS[kind_name], way_of(name)
    rng = np.random.default_rng([seed, zlib.crc32(f"{kind_name} {name}".encode())])
    case = Case(folder, whole.size, rng.uniform(-EARLY, 1))
    case.output.parent.mkdir(parents=True)
    shutil.copytree(inputs, case.inputs)
    steps = way(case)
    try:
        next(steps)
    except SkippedError as error:
        return Outcome(way_name, skipped=str(error))
    try:
        reasons = _disturb(kind, way, case, whole, steps)
    finally:
        steps.close()
    return Outcome(way_name, "; ".join(reasons), code=case.run and case.run.code())


def _disturb(kind: Kind, way: Way, case: Case, whole: Undisturbed, steps: Steps) -> list[str]:
    arguments = kind.arguments(case.inputs, case.output)
    case.run = Run(kind.module, arguments, case.folder / "first.log", case.environment)
    if case.share < 0:
        case.run.wait(whole.before * (1 + case.share / EARLY))
    else:
        _wait_for_output(case.run, case.output.parent, LIMIT)
        case.run.wait(case.share * whole.work)
    next(steps)
    reasons = _ended(case.run, way in DEADLY, way in UNNOTICED)
    reasons += halves(case.output, whole.folder)
    next(steps, None)
    time.sleep(SETTLING)
    again = Run(kind.module, arguments, case.folder / "second.log")
    code = again.wait(LIMIT)
    # A refusal is right only where everything is there already, so the results are compared.
    reasons += [f"again: {one}" for one in _ended(again, False, False)]
    reasons += [f"afterwards {one}" for one in halves(case.output, whole.folder)]
    try:
        kind.compare(whole.folder, case.output)
    except (AssertionError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        reasons.append(f"result, exit code {code}: {text}")
    return reasons


def _wait_for_output(run: Run, folder: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while run.code() is None and time.monotonic() < until:
        if any(path.name != "ballast" for path in folder.iterdir()):
            return
        time.sleep(0.005)


def _ended(run: Run, by_signal: bool, well: bool) -> list[str]:
    """Wait for the end; return what is wrong with it."""
    code = run.wait(LIMIT)
    if code is None:
        run.ends_alone(0)
        run.wait(10)
        return [f"no end within {LIMIT} s"]
    wrong = [] if run.ends_alone() else ["processes outlive it"]
    text = run.log.read_text(errors="replace")
    if code < 0 and not by_signal:
        wrong.append(f"ended by signal {-code}")
    if code > 0 and ("Traceback" in text or not _last_line(run.log).startswith("error: ")):
        wrong.append(f"exit code {code} without its reason in one line: {_last_line(run.log)}")
    elif code != 0 and well:
        wrong.append(f"exit code {code}: {_last_line(run.log)}")
    return wrong


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() or ["(nothing printed)"]
    return lines[-1][:300]


def free(folder: Path) -> None:
    """Remove the folder of a case."""
    if os.path.ismount(folder / "out"):
        raise RuntimeError(f"{folder / 'out'} is still mounted")
    shutil.rmtree(folder, ignore_errors=True)
