"""The pictures of README.md and docs/, made from the shipped clip and from generated ones.

    python scripts/make_pictures.py                 all of them, after `make demo`
    python scripts/make_pictures.py speed overlay   some of them

A picture whose input is missing is named and left as it is. The same run gives the same pictures.
What they show is written to pictures.json.
"""

import argparse
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Patch
from PIL import Image, ImageDraw, ImageFont

from sali.build import operating_point
from sali.data.frames import read_frame, read_mask
from sali.data.index import index_clip_folders
from sali.errors import DataError, UserError
from sali.metrics.fixed_threshold import fixed_threshold_scores
from sali.models.checkpoint import load_network
from sali.models.shipped import SAMPLE, find_checkpoint
from sali.report import style
from sali.report.overlay import PREDICTION_RGB, TRUTH_RGB, draw_overlay
from sali.run.io import read_json, write_json
from sali.streaming import StreamSegmenter, prepare_network

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "speed.md"  # the only place where the speeds are written down
WAYS = ("released", "float32", "bfloat16")
# Rows of that table, by the start of their first cell, and their names in the plot.
PARTS = {
    "whole frame": "whole frame",
    "encoder": "encoder (released:\ntwice a frame)",
    "memory read": "memory read",
    "alignment": "alignment",
    "reduction + fusion + decoder": "reduction, fusion,\ndecoder",
}
MACHINE = "PVTv2-B5, 352 px, two cores of an AMD EPYC, no GPU"
REPORT_PART = "clip=all/case2_1&frame=18"
FRAMES_PER_SECOND = 8
DEMO_FRAMES = 30  # segmented before the web app is paused
PAGE_WIDTH, REPORT_HEIGHT, DEMO_HEIGHT = 1200, 1020, 1250
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAIT_SECONDS = 120


class MissingError(UserError):
    """An input of a picture that is missing."""


def overlay(given: argparse.Namespace) -> dict[str, Any]:
    """Animate the shipped clip, and what the shipped weights mark in it."""
    (clip,) = index_clip_folders(SAMPLE / "Frame", mask_root=SAMPLE / "GT")
    network, settings = load_network(find_checkpoint(given.weights))
    side = settings["streaming"]["image_size"]
    point = operating_point("checkpoint", settings)
    segmenter = StreamSegmenter(prepare_network(network, side), side)
    sheets, dice = [], []
    for path, mask_path in zip(clip.frames, clip.masks, strict=True):
        frame, _ = read_frame(path)
        probability = segmenter.step(frame)
        assert mask_path is not None and probability is not None
        mask = read_mask(mask_path)
        marked = torch.from_numpy(point.mask(probability).astype(np.float32))
        dice.append(float(fixed_threshold_scores(marked, torch.from_numpy(mask))[0]))
        sheets.append(_framed(frame, draw_overlay(frame, probability, mask, point)))
    sheets[0].save(
        given.output / "overlay.webp",
        save_all=True,
        append_images=sheets[1:],
        duration=round(1000 / FRAMES_PER_SECOND),
        loop=0,
        quality=60,
        method=6,
    )
    return {
        "weights": given.weights,
        "clip": clip.name,
        "frames": len(sheets),
        "dice_at_operating_point": round(float(np.mean(dice)), 2),
    }


def _framed(frame: np.ndarray, drawn: np.ndarray) -> Image.Image:
    """Return frame and overlay side by side above a line of words."""
    height, width = frame.shape[:2]
    sheet = Image.new("RGB", (2 * width + 6, height + 22), "white")
    sheet.paste(Image.fromarray(frame), (0, 0))
    sheet.paste(Image.fromarray(drawn), (width + 6, 0))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    draw.text((2, height + 4), "frame of PolypGen, CC BY 4.0", fill=style.INK, font=font)
    for x, name, colour in ((6, "truth", TRUTH_RGB), (76, "prediction", PREDICTION_RGB)):
        left, top = width + x, height + 6
        draw.rectangle((left, top, left + 14, top + 11), fill=colour, outline=style.INK)
        draw.text((left + 20, height + 4), name, fill=style.INK, font=font)
    return sheet


def table_rows(text: str) -> dict[str, list[float]]:
    """Return the milliseconds of each way per row of `PARTS`.

    Args:
        text: Page that holds the table.

    Raises:
        DataError: A row is missing, or does not hold a number for each way.
    """
    rows: dict[str, list[float]] = {}
    for line in text.splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        wanted = name.partition(",")[0]
        if wanted in PARTS and ", ms" in name and wanted not in rows:
            rows[wanted] = [float(cell.split()[0]) for cell in cells]
    if list(rows) != list(PARTS) or any(len(row) != len(WAYS) for row in rows.values()):
        raise DataError(f"speed table: got {rows}, wanted rows {list(PARTS)} of {WAYS}")
    return rows


def speed(given: argparse.Namespace) -> dict[str, Any]:
    """Draw the speed table as bars from zero."""
    rows = table_rows(TABLE.read_text())
    figure = style.new_figure(1.4 * style.WIDTH, 4.2)
    axes = figure.add_subplot()
    places = np.arange(len(rows)) * (len(WAYS) + 0.6)
    colours = [style.series_style(index).colour for index in range(len(WAYS))]
    for index, colour in enumerate(colours):
        bars = axes.barh(places + index, [row[index] for row in rows.values()], 0.85, color=colour)
        axes.bar_label(bars, fmt="%g", padding=4, fontsize=style.SMALL, color=style.INK)
    style.style_axes(axes, f"One frame of 1158 x 1008\n{MACHINE}", "milliseconds", grid="x")
    axes.set_yticks(places + 1, [PARTS[name] for name in rows], fontsize=style.SMALL)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    names = ("the released way", "here, float32", "here, bfloat16")
    style.legend_below(figure, [Patch(color=colour) for colour in colours], names, columns=3)
    figure.savefig(given.output / "speed.png", dpi=110, facecolor="white")
    return {"machine": MACHINE, "ms": rows}


@contextmanager
def opened(address: str, height: int) -> Iterator[Any]:
    """Open a page in an installed browser without a window.

    Raises:
        MissingError: There is no browser, or nothing to drive it with.
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
        page = chromium.new_page(
            viewport={"width": PAGE_WIDTH, "height": height},
            color_scheme="light",
            reduced_motion="reduce",
        )
        page.goto(address)
        page.wait_for_load_state("load")
        yield page
        chromium.close()


def report(given: argparse.Namespace) -> dict[str, Any]:
    """Picture a part of the report that `make demo` makes of the shipped clip."""
    file = given.run / "report.html"
    if not file.is_file():
        raise MissingError(f"no {file}; `make demo` writes it")
    with opened(f"{file.resolve().as_uri()}#{REPORT_PART}", REPORT_HEIGHT) as page:
        page.screenshot(path=given.output / "report.png")
    return {"part": REPORT_PART}


@contextmanager
def serving(checkpoint: str) -> Iterator[str]:
    """Serve the web app on any free port; yields its address.

    Raises:
        MissingError: The app does not start.
    """
    options = (f"ckpt='{checkpoint}'", "port=0", "open_browser=false")
    process = subprocess.Popen(
        [sys.executable, "-m", "sali.demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    line = ""
    try:
        for line in process.stdout:
            if ready := re.search(r"ready: (http\S+)", line):
                yield ready[1]
                return
        raise MissingError(f"the web app does not start: {line.strip()}")
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def demo(given: argparse.Namespace) -> dict[str, Any]:
    """Picture the web app in the middle of the shipped clip."""
    with serving(given.weights) as address, opened(address, DEMO_HEIGHT) as page:
        page.locator("[data-state=idle]").wait_for()
        page.get_by_role("button", name="Start").click()
        page.wait_for_function(
            "n => parseInt(document.querySelector('[data-number=frame]')?.innerText) >= n",
            arg=DEMO_FRAMES,
            timeout=1000 * WAIT_SECONDS,
        )
        page.get_by_role("button", name="Pause", exact=True).click()
        page.locator("[data-state=paused]").wait_for()
        page.screenshot(path=given.output / "demo.png")
    return {"weights": given.weights, "frames": DEMO_FRAMES}


PICTURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "overlay": overlay,
    "speed": speed,
    "report": report,
    "demo": demo,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pictures; exit with code 1 if one could not be made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}; default: all")
    parser.add_argument("--run", type=Path, default=ROOT / "outputs" / "demo" / "sample_scores")
    parser.add_argument("--weights", default="polypgen_lite0", help="name of shipped weights")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "pictures")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(PICTURES))
    if unknown:
        parser.error(f"no picture {unknown[0]!r}; there are {', '.join(PICTURES)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    shown = read_json(given.output / "pictures.json")
    missing = []
    given.output.mkdir(parents=True, exist_ok=True)
    for name in given.names or PICTURES:
        try:
            shown[name] = PICTURES[name](given)
            log.info("made: %s", name)
        except UserError as error:
            log.warning("not made: %s: %s", name, error)
            missing.append(name)
    write_json(given.output / "pictures.json", {n: shown[n] for n in PICTURES if n in shown})
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
