"""What was found in every frame as tables: a CSV and masks in COCO's run-length encoding."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from sali.prediction.growing import GrowingFile
from sali.prediction.result import Result
from sali.prediction.sources import Source

COLUMNS = ("frame", "time", "area", "x", "y", "width", "height", "peak")


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run-length encoding of a boolean mask [H, W].

    Returns:
        {"size": [H, W], "counts": [...]}: lengths of runs down the columns, the first one of
        background (0 if there is none).
    """
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def box_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """(x, y, width, height) in pixels of the box round a boolean mask [H, W]; None if empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not columns.size:
        return None
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


class DetectionTables:
    """``<clip>.csv`` and ``<clip>.json``, hidden files that are renamed when the clip is whole.

    The CSV has one row per frame: ``time`` in seconds (of videos), ``area`` in pixels and its box,
    ``peak`` the largest probability. The JSON is one array of a mask per frame.

    Args:
        root: folder of the tables.
        threshold: probability from which on a pixel is polyp.
    """

    def __init__(self, root: Path, threshold: float) -> None:
        self.root = root
        self.threshold = threshold
        self._open: dict[str, tuple[GrowingFile, GrowingFile]] = {}

    def _begin(self, clip: str, rows: int | None = None, masks: int | None = None) -> None:
        self._open[clip] = (
            GrowingFile(self.root / f"{clip}.csv", rows),
            GrowingFile(self.root / f"{clip}.json", masks),
        )

    def write(self, result: Result) -> None:
        clip, frame, time = result.clip, result.stem, result.time
        probability = result.probability
        mask = probability >= self.threshold
        begun = clip in self._open
        if not begun:
            self._begin(clip)
        rows, masks = self._open[clip]
        table = csv.writer(rows)
        if not begun:
            table.writerow(COLUMNS)
        box = box_of(mask) or ("", "", "", "")
        peak = f"{probability.max():.4f}"
        table.writerow([frame, in_seconds(time), int(mask.sum()), *box, peak])
        entry = {"frame": frame, "time": time, **encode_rle(mask)}
        masks.write((",\n" if begun else "[\n") + json.dumps(entry))

    def save(self, clip: str) -> dict[str, Any]:
        rows, masks = self._open[clip]
        return {"rows": rows.save(), "masks": masks.save()}

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        self._begin(source.name, **state)

    def finish(self, clip: str) -> None:
        if clip in self._open:
            rows, masks = self._open.pop(clip)
            masks.write("\n]\n")
            rows.finish()
            masks.finish()

    def suspend(self) -> None:
        for files in self._open.values():
            for file in files:
                file.suspend()

    def discard(self) -> None:
        for files in self._open.values():
            for file in files:
                file.discard()
        self._open.clear()


def in_seconds(time: float | None) -> str:
    """Time of a frame in a table; empty for frames in files."""
    return "" if time is None else f"{time:.6f}"
