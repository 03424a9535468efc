"""The web app in a process of its own, for tests of the page and of hostile clients."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from app_parts import save_checkpoint
from miniature import ROOT

# Whatever the server wants from another machine is written down.
WATCHING = """
import sys

def watch(event, details):
    if event == "socket.connect":
        host = details[1][0] if isinstance(details[1], tuple) else "local"
    elif event == "socket.getaddrinfo":
        host = details[0] or "local"
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host)
    if host not in ("local", "localhost", "::1", "::", "0.0.0.0") and not host.startswith("127."):
        with open({outside!r}, "a") as file:
            file.write(f"{{event}} {{host}}\\n")

sys.addaudithook(watch)
from sali.demo import main
main()
"""


class Server:
    """`python -m sali.demo` in a process and a temporary folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.outside = folder / "outside.txt"
        checkpoint = save_checkpoint(folder / "small.ckpt")
        script = folder / "server.py"
        script.write_text(WATCHING.format(outside=str(self.outside)))
        given = {
            "ckpt": checkpoint,
            "port": 0,
            "open_browser": "false",
            "generated.frames_per_clip": 24,
            "generated.height": 96,
            "generated.width": 120,
            "generated.polyp_free_clips": 0,
            "limits.megabytes": 2,
            "limits.seconds": 30,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(script), *(f"{k}={v}" for k, v in given.items()), *options],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "TMPDIR": str(self.temporary),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said.append(line)
            if ready := re.search(r"ready: (http\S+)", line):
                self.url = ready[1]
                return
        pytest.fail("".join(said))

    def held(self) -> list[Path]:
        """Files of pages: uploads, maps, results; not the drawn clips."""
        held: list[Path] = []
        for folder, inside, names in os.walk(self.temporary):  # bears that folders vanish
            inside[:] = [name for name in inside if name != "samples"]
            for path in (Path(folder) / name for name in names):
                with suppress(FileNotFoundError):
                    held += [path] if path.stat().st_size else []
        return held

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """Run a server; at its end nothing is left of it, and it asked no other machine."""
    server = Server(folder, *options)
    try:
        yield server
        server.stop()
    finally:
        server.process.kill()  # nothing happens to one that has ended
    assert not server.outside.exists(), server.outside.read_text()
    assert list(server.temporary.iterdir()) == []
