"""The pictures of README.md and docs/, made from generated clips only.

    python scripts/make_pictures.py                 all of them, from the run of `make demo`
    python scripts/make_pictures.py speed overlay   some of them

What a picture needs and does not find is named, and that picture is left as it is. The same run
gives the same files. What they show is written to pictures.json beside them.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from page_pictures import MissingError, picture_demo, picture_report
from PIL import Image, ImageDraw, ImageFont

from sali.data.frames import read_frame, read_mask
from sali.data.index import Clip, index_subset
from sali.errors import DataError, UserError
from sali.metrics.fixed_threshold import fixed_threshold_scores
from sali.models.checkpoint import load_network
from sali.models.weights import read_file
from sali.report.overlay import PREDICTION_RGB, TRUTH_RGB, draw_overlay
from sali.report.style import (
    INK,
    SMALL,
    WIDTH,
    legend_below,
    new_figure,
    series_style,
    style_axes,
)
from sali.streaming import StreamSegmenter, prepare_network

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "speed.md"
"""Holds the speed table, the only place where these figures are written down."""
WAYS = ("released", "float32", "bfloat16")
PARTS = {
    "whole frame": "whole frame",
    "encoder": "encoder (released:\ntwice a frame)",
    "memory read": "memory read",
    "alignment": "alignment",
    "reduction + fusion + decoder": "reduction, fusion,\ndecoder",
}
"""Rows of that table, by how their first cell begins, and what they are called in the plot."""
MACHINE = "PVTv2-B5, 352 px, two cores of an AMD EPYC, no GPU"


def generated_clip(root: Path, subset: str, name: str | None) -> Clip:
    """A clip of a generated data set; real frames are refused.

    Raises:
        MissingError: no generated data set, or no such clip in it.
    """
    if not (root / "spec.json").is_file():
        raise MissingError(f"{root} is no generated data set (no spec.json); `make demo` draws one")
    clips = {clip.name: clip for clip in index_subset(root, subset)}
    chosen = name or next(iter(clips))
    if chosen not in clips:
        raise MissingError(f"no clip {chosen} in {subset}; there are {', '.join(clips)}")
    return clips[chosen]


def overlay(given: argparse.Namespace) -> dict[str, Any]:
    """A clip that the network never saw, and what it marks in it, as an animation."""
    checkpoint = given.run / "checkpoints" / f"{given.checkpoint}.ckpt"
    if not checkpoint.is_file():
        raise MissingError(f"no {checkpoint}; run `make demo` first, or name a run with --run")
    clip = generated_clip(given.data, given.subset, given.clip)
    network, settings = load_network(checkpoint)
    segmenter = StreamSegmenter(
        prepare_network(network, **settings["streaming"]), **settings["streaming"]
    )
    if segmenter.looks_ahead:
        raise MissingError("the run looks one frame ahead; wanted compat.neighbor=previous")
    films, dice = [], []
    for path, mask_path in zip(clip.frames, clip.masks, strict=True):
        frame, _ = read_frame(path)
        mask = read_mask(mask_path) if mask_path else None
        probability = segmenter.step(frame)
        assert probability is not None
        if mask is not None:
            dice.append(_dice(probability, mask))
        drawn = draw_overlay(frame, probability, mask)
        films.append(_framed(frame, drawn))
    first, *rest = films
    first.save(
        given.output / "overlay.webp",
        save_all=True,
        append_images=rest,
        duration=round(1000 / given.rate),
        loop=0,
        quality=given.quality,
        method=6,
    )
    return {
        "steps": int(read_file(checkpoint)["global_step"]),
        "subset": given.subset,
        "clip": clip.name,
        "frames": len(films),
        "dice_at_0.5": round(float(np.mean(dice)), 2) if dice else None,
    }


def _dice(probability: np.ndarray, mask: np.ndarray) -> float:
    import torch

    scores = fixed_threshold_scores(torch.from_numpy(probability), torch.from_numpy(mask))
    return float(scores[0])


def _framed(frame: np.ndarray, drawn: np.ndarray) -> Image.Image:
    """Frame and overlay side by side, with a line of words below."""
    gap, line, size = 6, 22, 13
    height, width = frame.shape[:2]
    sheet = Image.new("RGB", (2 * width + gap, height + line), "white")
    sheet.paste(Image.fromarray(frame), (0, 0))
    sheet.paste(Image.fromarray(drawn), (width + gap, 0))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    y = height + 4
    draw.text((2, y), "frame, a drawing", fill=INK, font=font)
    x = width + gap
    for name, colour in (("truth", TRUTH_RGB), ("prediction", PREDICTION_RGB)):
        draw.rectangle((x, y + 2, x + 14, y + 13), fill=colour, outline=INK)
        draw.text((x + 20, y), name, fill=INK, font=font)
        x += 34 + round(draw.textlength(name, font=font))
    return sheet


def table_rows(text: str) -> dict[str, list[float]]:
    """Milliseconds of each way, per row of ``PARTS``.

    Args:
        text: of the page that holds the table.

    Raises:
        DataError: a row is missing, or does not start with a number for each way.
    """
    rows: dict[str, list[float]] = {}
    for line in text.splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        wanted = name.partition(",")[0]
        if wanted in PARTS and ", ms" in name and wanted not in rows:
            rows[wanted] = [float(cell.split()[0]) for cell in cells]
    if list(rows) != list(PARTS) or any(len(row) != len(WAYS) for row in rows.values()):
        raise DataError(f"the speed table gave {rows}; wanted rows {list(PARTS)} of {WAYS}")
    return rows


def speed(given: argparse.Namespace) -> dict[str, Any]:
    """The speed table as bars from zero."""
    rows = table_rows(TABLE.read_text())
    figure = new_figure(1.4 * WIDTH, 4.2)
    axes = figure.add_subplot()
    ticks, position = [], 0.0
    for values in rows.values():
        ticks.append(position + (len(values) - 1) / 2)
        for index, value in enumerate(values):
            axes.barh(position, value, height=0.85, color=series_style(index).colour)
            axes.annotate(
                f"{value:g}", (value, position), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=SMALL, color=INK,
            )  # fmt: skip
            position += 1
        position += 0.6
    style_axes(axes, f"One frame of 1158 x 1008\n{MACHINE}", "milliseconds", grid="x")
    axes.set_yticks(ticks, [PARTS[name] for name in rows], fontsize=SMALL)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    names = ("the released way", "here, float32", "here, bfloat16")
    handles = [Patch(color=series_style(index).colour) for index in range(len(names))]
    legend_below(figure, handles, names, columns=3)
    figure.savefig(given.output / "speed.png", dpi=110, facecolor="white")
    return {"machine": MACHINE, "ms": rows}


def report(given: argparse.Namespace) -> dict[str, Any]:
    """A part of a run's report."""
    target = given.output / "report.png"
    picture_report(given.run / "report.html", given.report_part, given.report_height, target)
    return {"part": given.report_part}


def demo(given: argparse.Namespace) -> dict[str, Any]:
    """The web app at work on a drawn clip."""
    checkpoint = given.run / "checkpoints" / f"{given.checkpoint}.ckpt"
    picture_demo(checkpoint, given.demo_frames, given.demo_height, given.output / "demo.png")
    return {"steps": int(read_file(checkpoint)["global_step"]), "frames": given.demo_frames}


PICTURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "overlay": overlay,
    "speed": speed,
    "report": report,
    "demo": demo,
}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    demo = ROOT / "outputs" / "demo" / "latest"
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}; default: all")
    options.add_argument("--run", type=Path, default=demo, help="folder of a run on drawn clips")
    options.add_argument("--checkpoint", default="last", choices=("best", "last"))
    options.add_argument("--data", type=Path, default=ROOT / "datasets" / "synthetic")
    options.add_argument("--subset", default="unseen_easy", help="of the overlay's clip")
    options.add_argument("--clip", help="its name; default: the first of the subset")
    options.add_argument("--rate", type=float, default=8, help="frames per second")
    options.add_argument("--quality", type=int, default=70, help="of WebP, 0 to 100")
    options.add_argument(
        "--report-part",
        default="clip=unseen_easy/case10001_1&frame=18",
        help="section or frame of the report",
    )
    options.add_argument("--report-height", type=int, default=1020, help="pixels")
    options.add_argument("--demo-frames", type=int, default=40, help="segmented before the pause")
    options.add_argument("--demo-height", type=int, default=1250, help="pixels")
    options.add_argument("--output", type=Path, default=ROOT / "docs" / "pictures")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exit code 1 if a picture could not be made."""
    options = parser()
    given = options.parse_args(arguments)
    unknown = sorted(set(given.names) - set(PICTURES))
    if unknown:
        options.error(f"no picture {unknown[0]!r}; there are {', '.join(PICTURES)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given.output.mkdir(parents=True, exist_ok=True)
    record = given.output / "pictures.json"
    told = json.loads(record.read_text()) if record.is_file() else {}
    missing = []
    for name in given.names or PICTURES:
        try:
            told[name] = PICTURES[name](given)
        except UserError as error:
            log.warning("not made: %s: %s", name, error)
            missing.append(name)
        else:
            log.info("made: %s", name)
    record.write_text(json.dumps({n: told[n] for n in PICTURES if n in told}, indent=2) + "\n")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
