"""What was found in every frame as tables: a CSV, and masks in COCO's run-length encoding."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sali.prediction.result import Result
from sali.prediction.resume import GrowingFile
from sali.prediction.sources import Source

COLUMNS = ("frame", "time", "area", "x", "y", "width", "height", "peak")


class TextFiles:
    """Base of writers of text files, one of each kind per clip.

    Args:
        root: Folder of the files.
        suffixes: Ending of each file behind the name of the clip.
    """

    def __init__(self, root: Path, *suffixes: str) -> None:
        self.root = root
        self._suffixes = suffixes
        self._open: dict[str, list[GrowingFile]] = {}

    def _files(self, clip: str, sizes: list[int] | None = None) -> list[GrowingFile]:
        if clip not in self._open:
            saved: Sequence[int | None] = sizes or [None] * len(self._suffixes)
            self._open[clip] = [
                GrowingFile(self.root / f"{clip}{suffix}", size)
                for suffix, size in zip(self._suffixes, saved, strict=True)
            ]
        return self._open[clip]

    def save(self, clip: str) -> dict[str, Any]:
        return {"sizes": [file.save() for file in self._open[clip]]}

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        self._files(source.name, state["sizes"])

    def finish(self, clip: str) -> None:
        for file in self._open.pop(clip, ()):
            file.finish()

    def suspend(self) -> None:
        for file in (file for files in self._open.values() for file in files):
            file.suspend()

    def discard(self) -> None:
        for file in (file for files in self._open.values() for file in files):
            file.discard()
        self._open.clear()


class DetectionTables(TextFiles):
    """`<clip>.csv` with one row per frame, and `<clip>.json`, an array of one mask per frame.

    In the CSV `time` is in seconds (of videos), `area` in pixels, followed by its box; `peak` is
    the largest probability.

    Args:
        root: Folder of the tables.
        threshold: Probability from which on a pixel is polyp.
    """

    def __init__(self, root: Path, threshold: float) -> None:
        super().__init__(root, ".csv", ".json")
        self.threshold = threshold

    def write(self, result: Result) -> None:
        is_begun = result.clip in self._open
        rows, masks = self._files(result.clip)
        table = csv.writer(rows)
        if not is_begun:
            table.writerow(COLUMNS)
        mask = result.probability >= self.threshold
        box = box_of(mask) or ("", "", "", "")
        peak = f"{result.probability.max():.4f}"
        table.writerow([result.stem, in_seconds(result.time), int(mask.sum()), *box, peak])
        entry = {"frame": result.stem, "time": result.time, **encode_rle(mask)}
        masks.write((",\n" if is_begun else "[\n") + json.dumps(entry))

    def finish(self, clip: str) -> None:
        if clip in self._open:
            self._open[clip][1].write("\n]\n")
        super().finish(clip)


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """Return COCO's uncompressed run-length encoding of a boolean mask [H, W].

    Returns:
        {"size": [H, W], "counts": [...]}: lengths of runs down the columns, the first one of
        background (0 if there is none).
    """
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def box_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the box (x, y, width, height) around a boolean mask [H, W]; None if it is empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not columns.size:
        return None
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def in_seconds(time: float | None) -> str:
    """Return the time of a frame for a table; empty for frames in files."""
    return "" if time is None else f"{time:.6f}"
