"""A command in a process group of its own."""

import atexit
import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
_IMPORTED = (
    *("torch", "lightning", "timm", "albumentations", "matplotlib.pyplot", "av", "cv2"),
    *("sali.training", "sali.predictor", "sali.prediction.loop", "sali.evaluation.run"),
    *("sali.report.folder", "sali.report.page"),
)


def import_all() -> None:
    """Import here what the forked commands need: it takes longer than their work.

    There must be no other threads, which a fork would leave behind with what they have locked.
    """
    for name in _IMPORTED:
        import_module(name)
    import_module("cv2").setNumThreads(1)
    import_module("torch").set_num_threads(1)


class Run:
    """A command that runs.

    Args:
        module: Module of the command, as after `python -m`.
        arguments: Its arguments.
        log: File for what it prints.
        environment: If given, a fresh interpreter is started with these variables added;
            otherwise this process is forked.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._code: int | None = None
        if environment is None:
            sys.stdout.flush()
            self.pid = os.fork()
            if not self.pid:
                _become(module, arguments, log)
        else:
            with log.open("w") as file:
                self.pid = subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    cwd=ROOT,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                ).pid

    def code(self) -> int | None:
        """Return the exit code, negative for a signal; None while the command runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, seconds: float) -> int | None:
        """Wait for the end; return the exit code, None if it did not come in time."""
        until = time.monotonic() + seconds
        while self.code() is None and time.monotonic() < until:
            time.sleep(0.02)
        return self.code()

    def signal(self, number: signal.Signals, group: bool = True) -> None:
        """Send a signal to the group or its first process; nothing happens if that has ended."""
        if self.code() is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.pid, number)

    def ends_alone(self, seconds: float = 20) -> bool:
        """Return whether all processes of the group end in time; those left are killed."""
        until = time.monotonic() + seconds
        while alive := _alive_in(self.pid):
            if time.monotonic() > until:
                for pid in alive:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return False
            time.sleep(0.05)
        return True

    def workers(self) -> list[int]:
        """Return the processes that read ahead for the command."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            own = _command_line(self.pid)
            return [int(child) for child in children if _command_line(int(child)) == own]
        except OSError:  # one has ended
            return []


def _alive_in(group: int) -> list[int]:
    """Return the processes of a group without those that only wait to be collected."""
    alive = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                alive.append(int(path.parent.name))
    return alive


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _become(module: str, arguments: Sequence[str], log: Path) -> NoReturn:
    """Be the command, in a process that was just forked."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(ROOT)
        for target, path, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            os.dup2(os.open(path, flags), target)
        os.dup2(1, 2)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
