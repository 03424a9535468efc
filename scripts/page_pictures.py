"""Screenshots of the pages that the project makes: a run's report, the web app."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sali.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTH = 1200
SERVER_SECONDS = 120


class MissingError(UserError):
    """What a picture is made of is not there."""


@contextmanager
def opened(address: str, height: int) -> Iterator[Any]:
    """A page in an installed browser without a window.

    Args:
        address: of the page.
        height: of the window, in pixels.

    Raises:
        MissingError: no browser, or nothing to drive it with.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise MissingError(f"no browser: none of {', '.join(BROWSERS)} is installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingError("playwright is not installed: pip install -e '.[dev]'") from error
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        # Browsers differ in what they take the system to like.
        page = chromium.new_page(
            viewport={"width": WIDTH, "height": height},
            color_scheme="light",
            reduced_motion="reduce",
        )
        page.goto(address)
        page.wait_for_load_state("load")
        yield page
        chromium.close()


def picture_report(file: Path, part: str, height: int, target: Path) -> None:
    """One part of a report, as a browser on a desk shows it.

    Args:
        file: the report.
        part: id of the section that the page is scrolled to; empty for the top.
        height: of the window, in pixels.
        target: PNG file.

    Raises:
        MissingError: no such file.
    """
    if not file.is_file():
        raise MissingError(f"no {file}; a run of sali.train writes it")
    with opened(file.resolve().as_uri() + (f"#{part}" if part else ""), height) as page:
        page.screenshot(path=target)


@contextmanager
def serving(checkpoint: Path) -> Iterator[str]:
    """The web app with its drawn clips on any free port; gives its address.

    Raises:
        MissingError: it does not start.
    """
    command = [sys.executable, "-m", "sali.demo", f"ckpt='{checkpoint}'", "port=0"]
    process = subprocess.Popen(
        [*command, "open_browser=false"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line.strip())
            if ready := re.search(r"ready: (http\S+)", line):
                yield ready[1]
                return
        raise MissingError(f"the web app does not start: {' '.join(said[-1:])}")
    finally:
        process.terminate()
        process.wait(SERVER_SECONDS)


def picture_demo(checkpoint: Path, frames: int, height: int, target: Path) -> None:
    """The web app in the middle of the first drawn clip.

    Args:
        checkpoint: of a network.
        frames: so many are segmented before the run is paused.
        height: of the window, in pixels.
        target: PNG file.

    Raises:
        MissingError: no checkpoint, or no web app.
    """
    if not checkpoint.is_file():
        raise MissingError(f"no {checkpoint}; run `make demo` first, or name a run with --run")
    with serving(checkpoint) as address, opened(address, height) as page:
        page.locator("[data-state=idle]").wait_for()
        page.get_by_role("button", name="Start").click()
        page.wait_for_function(
            "n => parseInt(document.querySelector('[data-number=frame]')?.innerText) >= n",
            arg=frames,
            timeout=1000 * SERVER_SECONDS,
        )
        page.get_by_role("button", name="Pause", exact=True).click()
        page.locator("[data-state=paused]").wait_for()
        page.screenshot(path=target)
