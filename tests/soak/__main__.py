"""The command, see `tests.soak`."""

import argparse
import atexit
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av

from sali.data.listing import list_images
from sali.models.shipped import SAMPLE
from tests import soak
from tests.soak.users import User
from tests.soak.watch import LIMITS, Watch, count_files, verdict

FRAMES = list_images(SAMPLE / "Frame/case2_1")
RATE = 10
WARM_UP = 4
"""Uploads before the first sample, which load what is loaded once."""
LEAVING_SECONDS = 300
"""How long the app may take to find that a page is gone, and to delete what it had."""
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""Without it glibc gives threads arenas of their own, which keep what was freed in them: the app
grew by a quarter in its first twenty uploads. With one it is level, and what grows is a leak."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def video(path: Path, frames: int) -> Path:
    """Write the first frames of the shipped clip as a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"g": "5"})
        for number, file in enumerate(FRAMES[:frames]):
            with av.open(str(file)) as source:
                (picture,) = source.decode(video=0)
            if number == 0:
                stream.width, stream.height = picture.width // 2 * 2, picture.height // 2 * 2
            frame = picture.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class Sender(http.server.BaseHTTPRequestHandler):
    """Sends one video again and again, at its own rate, to whoever asks."""

    content: bytes

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(self.content)
                time.sleep(len(FRAMES) / RATE)
        except OSError:  # the other side has enough
            return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start a command of sali with a temporary folder of its own; it ends with the soak."""
    temporary = folder / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={
            **os.environ,
            **ONE_ARENA,
            "TMPDIR": str(temporary),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch"),  # PyTorch makes and keeps it
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    atexit.register(process.kill)
    return process


def ended(process: subprocess.Popen[str], watch: Watch, what: str) -> bool:
    """Wait for the end; return whether the command failed or something grew."""
    said, _ = process.communicate()
    watch.stop()
    lines = (said or "").strip().splitlines()
    say(f"{what}: exit code {process.returncode}, {len(watch.samples)} samples; {lines[-1:]}")
    grew = verdict(watch.samples, say)
    return grew or process.returncode != 0


def soak_stream(folder: Path, given: argparse.Namespace) -> bool:
    """Follow a live stream for `given.minutes`."""
    Sender.content = video(folder / "loop.ts", len(FRAMES)).read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sender) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = start(
            folder,
            "sali.predict",
            f"source=http://127.0.0.1:{server.server_address[1]}/live.ts",
            f"output={folder / 'maps'}",
            f"live.max_seconds={60 * given.minutes}",
            *("overlay=true", "tables=true"),
        )
        watch = Watch(process, folder / "tmp", given.every)
        watch.start()
        bad = ended(process, watch, f"stream of {given.minutes:g} min")
        server.shutdown()
    maps = sum(1 for _ in (folder / "maps").rglob("*.png"))
    say(f"  {maps} maps")
    return bad or maps < given.minutes


def soak_clips(folder: Path, given: argparse.Namespace) -> bool:
    """Segment many short clips in one command."""
    for number in range(given.clips):
        clip = folder / f"clips/clip{number:05}"
        clip.mkdir(parents=True)
        for file in FRAMES[:3]:
            (clip / file.name).symlink_to(file.absolute())
    process = start(
        folder,
        "sali.predict",
        f"source={folder / 'clips'}",
        f"output={folder / 'maps'}",
        *("overlay=true", "tables=true"),
    )
    watch = Watch(process, folder / "tmp", given.every)
    watch.start()
    bad = ended(process, watch, f"{given.clips} clips")
    return bad or len(list((folder / "maps").glob("clip*"))) != given.clips


def visits(url: str, uploads: list[Path], number: int, num_users: int) -> list[User]:
    """Let users share a number of uploads, and return them when they have left."""
    shares = [range(n, number, num_users) for n in range(num_users)]
    users = [User(url, [uploads[i % len(uploads)] for i in share]) for share in shares]
    for user in users:
        user.start()
    for user in users:
        user.join()
    return users


def soak_uploads(folder: Path, given: argparse.Namespace) -> bool:
    """Let users upload, run and download side by side."""
    process = start(
        folder, "sali.demo", "port=0", "open_browser=false", f"max_waiting={4 * given.users}"
    )
    assert process.stdout is not None
    url = next((m[1] for line in process.stdout if (m := re.search(r"ready: (\S+)", line))), None)
    if url is None:
        say("uploads: the app did not start")
        return True
    said: deque[str] = deque(maxlen=60)
    threading.Thread(target=said.extend, args=[process.stdout], daemon=True).start()
    temporary = folder / "tmp"
    at_rest = count_files(temporary)
    uploads = [video(folder / f"upload{n}.mp4", 4) for n in range(4)]
    visits(url, uploads, WARM_UP, given.users)
    watch = Watch(process, temporary, given.every)
    watch.start()
    users = visits(url, uploads, given.uploads, given.users)
    watch.stop()
    failures = [failure for user in users for failure in user.failures]
    say(
        f"uploads: {sum(user.done for user in users)} of {given.uploads} by {given.users} users, "
        f"{len(watch.samples)} samples; failed: {failures[:3]}"
    )
    if failures:
        say("".join(said))
    # How many pages were left and not yet found to be gone varies; none may stay for good.
    grew = verdict(watch.samples, say, {k: v for k, v in LIMITS.items() if k != "files"})
    until = time.monotonic() + LEAVING_SECONDS
    while (files := count_files(temporary)) > at_rest and time.monotonic() < until:
        time.sleep(1)
    say(f"  files    before the first page {at_rest}, after the last {files}")
    process.send_signal(signal.SIGTERM)
    code = process.wait()
    left = list(temporary.iterdir())
    say(f"  stopped with {code}; left in its temporary folder: {left or 'nothing'}")
    return bool(grew or files > at_rest or failures or code or left)


SOAKS: dict[str, Callable[[Path, argparse.Namespace], bool]] = {
    "stream": soak_stream,
    "clips": soak_clips,
    "uploads": soak_uploads,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, and end with 1 if something grew or failed."""
    assert soak.__doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=soak.__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(SOAKS)}; all by default")
    parser.add_argument("--minutes", type=float, default=120, help="of the stream (%(default)s)")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(SOAKS):
        parser.error(f"got {', '.join(sorted(unknown))}, wanted some of {', '.join(SOAKS)}")
    bad = False
    for part in given.parts or SOAKS:
        folder = Path(tempfile.mkdtemp(prefix=f"sali_soak_{part}_"))
        try:
            bad |= SOAKS[part](folder, given)
        finally:
            shutil.rmtree(folder)
    say("something grew or failed" if bad else "level")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
