"""What was found in every frame as tables: a CSV and masks in COCO's run-length encoding."""

import csv
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from sali.prediction.result import Result

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
        self._open: dict[str, tuple[ExitStack, Any, Any]] = {}

    def _paths(self, clip: str) -> list[tuple[Path, Path]]:
        """Where each table is while it grows, and when it is whole."""
        names = [f"{clip}{suffix}" for suffix in (".csv", ".json")]
        return [(self.root / f".{name}.partial", self.root / name) for name in names]

    def write(self, result: Result) -> None:
        clip, frame, time = result.clip, result.stem, result.time
        probability = result.probability
        mask = probability >= self.threshold
        begun = clip in self._open
        if not begun:
            self.root.mkdir(parents=True, exist_ok=True)
            stack = ExitStack()
            table, masks = (
                stack.enter_context(partial.open("w", newline=""))
                for partial, _ in self._paths(clip)
            )
            self._open[clip] = stack, csv.writer(table), masks
            self._open[clip][1].writerow(COLUMNS)
        _, rows, masks = self._open[clip]
        box = box_of(mask) or ("", "", "", "")
        seconds = "" if time is None else f"{time:.6f}"
        rows.writerow([frame, seconds, int(mask.sum()), *box, f"{probability.max():.4f}"])
        entry = {"frame": frame, "time": time, **encode_rle(mask)}
        masks.write((",\n" if begun else "[\n") + json.dumps(entry))

    def finish(self, clip: str) -> None:
        if clip in self._open:
            stack, _, masks = self._open.pop(clip)
            with stack:
                masks.write("\n]\n")
            for partial, final in self._paths(clip):
                partial.replace(final)

    def discard(self) -> None:
        for clip, (stack, *_) in self._open.items():
            stack.close()
            for partial, _ in self._paths(clip):
                partial.unlink()
