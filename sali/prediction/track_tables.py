"""Tracks of lesions as a table."""

import csv
from pathlib import Path
from typing import Any

from sali.errors import ConfigError
from sali.prediction.growing import GrowingFile
from sali.prediction.result import Result
from sali.prediction.sources import Source
from sali.prediction.tables import in_seconds
from sali.prediction.tracks import Tracker, find_lesions

COLUMNS = ("frame", "time", "track", "area", "x", "y", "width", "height", "peak")


class TrackTables:
    """``<clip>.tracks.csv``: a row for every lesion of every frame; see ``tracks`` for the rules.

    Args:
        root: folder of the tables.
        threshold: probability from which on a pixel is polyp.
        min_area: pixels that make a lesion.
        min_iou: see ``Tracker``.
        max_gap: see ``Tracker``.

    Raises:
        ConfigError: numbers that mean nothing.
    """

    def __init__(
        self, root: Path, threshold: float, min_area: int, min_iou: float, max_gap: int
    ) -> None:
        if min_area < 1:
            raise ConfigError(f"tracks.min_area is {min_area}; wanted pixels, 1 or more")
        self.root = root
        self._threshold = threshold
        self._min_area = min_area
        self._make_tracker = lambda: Tracker(min_iou, max_gap)
        self._make_tracker()  # says at once what is wrong
        self._open: dict[str, tuple[GrowingFile, Tracker]] = {}

    def write(self, result: Result) -> None:
        clip = result.clip
        if clip not in self._open:
            file = GrowingFile(self.root / f"{clip}.tracks.csv")
            csv.writer(file).writerow(COLUMNS)
            self._open[clip] = file, self._make_tracker()
        file, tracker = self._open[clip]
        rows = csv.writer(file)
        lesions = find_lesions(result.probability, self._threshold, self._min_area)
        numbers = tracker.step(result.frame.number, [lesion.box for lesion in lesions])
        for number, lesion in zip(numbers, lesions, strict=True):
            when = result.stem, in_seconds(result.time)
            rows.writerow([*when, number, lesion.area, *lesion.box, f"{lesion.peak:.4f}"])

    def save(self, clip: str) -> dict[str, Any]:
        file, tracker = self._open[clip]
        return {"bytes": file.save(), "tracker": tracker.state()}

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        tracker = self._make_tracker()
        tracker.load_state(state["tracker"])
        path = self.root / f"{source.name}.tracks.csv"
        self._open[source.name] = GrowingFile(path, state["bytes"]), tracker

    def finish(self, clip: str) -> None:
        if clip in self._open:
            file, _ = self._open.pop(clip)
            file.finish()

    def suspend(self) -> None:
        for file, _ in self._open.values():
            file.suspend()

    def discard(self) -> None:
        for file, _ in self._open.values():
            file.discard()
        self._open.clear()
