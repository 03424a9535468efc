"""Folders as runs leave them, made by hand; and what a page says."""

import csv
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sali.config import config_dir
from sali.report.folder import films_folder
from sali.report.frames import write_film
from sali.report.options import ReportOptions
from sali.report.page import write_report

RECORD = {
    "command": "python -m sali.train name=mine",
    "started": "2025-01-31T13:05:59+00:00",
    "git_commit": "0123456789abcdef0123",
    "versions": {"torch": "2"},
    "seed": 7,
    "device": "cpu",
    "data": {
        "root": "/data",
        "fingerprint": "f00",
        "train_clips": 3,
        "train_frames": 30,
        "validation_clips": ["case8_1"],
        "test_subsets": {"seen_easy": 2},
    },
}


@cache
def options(*overrides: str) -> ReportOptions:
    """Those of the shipped file, with changes such as `report.bad_dice=0.3`."""
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("report", overrides=["run=x", *overrides])
    return ReportOptions(**OmegaConf.to_container(cfg.report, resolve=True))


def dice_of(clip: int, frame: int, method: int = 0) -> float:
    """Made-up scores; of clip 0, frames 4 to 11 are bad."""
    bad = clip == 0 and 4 <= frame < 12
    return round(0.1 + 0.01 * frame if bad else 0.6 + 0.02 * clip + 0.005 * frame - 0.1 * method, 4)


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def metrics(clips, subset="seen_easy", frames=20, **more):
    """Content of metrics.json."""
    means = {name: np.mean([dice_of(i, f) for f in range(frames)]) for i, name in enumerate(clips)}
    mean = float(np.mean(list(means.values())))
    vps = {"dice_mean": 0.7, "dice_max": 0.8123, "mae": 0.02}
    rules = {"threshold": 0.5, "frames_per_second": 30.0}
    return {
        "protocol": "both",
        "method": "prediction",
        "counts": {subset: {"clips": len(clips), "vps_clips": len(clips)}},
        "subsets": {subset: vps},
        "clips": {subset: {name: {**vps, "dice_max": 0.5} for name in clips}},
        "clinical": {
            "rules": rules,
            "subsets": {subset: {"dice_at_0.5": mean, "ece": None}},
            "clips": {subset: {name: {"dice_at_0.5": float(m)} for name, m in means.items()}},
        },
        **more,
    }


def write_frames(path: Path, clips, subset="seen_easy", frames=20, method=0) -> None:
    """frames.csv; the last frame of clip 1 has no polyp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("subset", "clip", "index", "frame", "polyp_pixels", "marked_pixels", "dice_at_0.5")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "low_quality"])
        for i, clip in enumerate(clips):
            for f in range(frames):
                free = i == 1 and f == frames - 1
                dice = "" if free else dice_of(i, f, method)
                row = [subset, clip, f, f"image{f:03}", 0 if free else 100 + f, 90 + f, dice]
                writer.writerow([*row, int(i == 1 and 2 <= f < 5)])


def write_films(folder: Path, clips, every=1, methods=("prediction",)):
    """Grey pictures, brighter from frame to frame, whose masks move to the right."""
    frames = 20
    rules = {"max_frames": -(-frames // every), "height": 64, "quality": 80, "tolerance": 0.5}

    def read(f):
        mask = np.zeros((128, 192), bool)
        mask[30:70, 20 + 4 * f : 60 + 4 * f] = True
        marks = {name: np.roll(mask, 8 * (m + 1), 0) for m, name in enumerate(methods)}
        return np.full((128, 192, 3), 20 + 10 * f, np.uint8), mask, marks

    for clip in clips:
        write_film(films_folder(folder) / f"seen_easy/{clip}.json", frames, read, **rules)


def write_curves(path: Path, subset="seen_easy") -> None:
    grid = np.linspace(1, 0, 256)
    pixels = np.ones((2, 256), np.int64)
    parts = ("confidence", "frequency", "weight")
    bins = {f"reliability_{name}": np.linspace(0, 1, 15) for name in parts}
    own = {"dice": 0.8 * (1 - grid**2), "precision": grid, "sensitivity": 1 - grid}
    own["pixels"] = pixels
    arrays = {f"{subset}/{name}": value for name, value in {**own, **bins}.items()}
    np.savez(path, thresholds=grid, **arrays)


def write_log(folder: Path, version: int, steps, loss) -> None:
    path = folder / f"csv/version_{version}/metrics.csv"
    path.parent.mkdir(parents=True)
    lines = [f"{step},{loss(step)},{'' if step % 4 else 0.5}" for step in steps]
    path.write_text("\n".join(["step,train/loss,val/frame_dice_at_0.5", *lines]) + "\n")


def make_run(folder: Path, clips=("case1_1", "case2_1", "case3_1"), **more) -> Path:
    """The folder of a training with everything in it."""
    write_json(folder / "run.json", RECORD)
    write_json(folder / "status.json", {"state": "finished", "error": None})
    best = {"val/frame_dice_at_0.5": 0.625}
    write_json(folder / "metrics.json", metrics(clips, checkpoint="best", best=best))
    write_frames(folder / "frames.csv", clips)
    write_films(folder, clips, **more)
    write_curves(folder / "curves.npz")
    write_log(folder, 0, range(12), lambda step: 2 - 0.1 * step)
    (folder / ".hydra").mkdir()
    (folder / ".hydra/config.yaml").write_text("name: mine\ncompat: {maps: probability}\n")
    (folder / ".hydra/overrides.yaml").write_text("- name=mine\n- optimizer.lr=0.1\n")
    return folder


class Page(HTMLParser):
    """Texts, tables and data of a page."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        super().__init__()
        self.source = write_report(folder, options(*overrides)).read_text()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._table: list[list[str]] | None = None
        self._caption = ""
        self._open = ""
        self.words: list[str] = []
        self.feed(self.source)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))
        self.clips = [
            json.loads(block)
            for block in re.findall(
                r'<script type="application/json" id="clip-\d+">(.*?)</script>', self.source, re.S
            )
        ]

    def clip(self, name: str):
        return next(clip for clip in self.clips if clip["clip"] == name)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "table":
            self._table, self._caption = [], ""
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("th", "td") and self._table:
            self._table[-1].append("")

    def handle_endtag(self, tag):
        if tag == "table" and self._table is not None:
            self.tables[self._caption or " ".join(self._table[0])] = self._table
            self._table = None
        self._open = ""

    def handle_data(self, data):
        if self.lasttag in ("style", "script") and self._open in ("style", "script"):
            return
        self.words.append(data)
        if self._table is not None and data.strip():
            if self._open == "span" and not self._table:
                self._caption = data
            elif self._table and self._table[-1]:
                self._table[-1][-1] += data.strip()
