"""Maps and overlays as picture files, a folder for each clip."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sali.errors import ConfigError, DataError
from sali.metrics.operating_point import OperatingPoint
from sali.prediction.result import MARK, ClipWriter, Result
from sali.report.overlay import draw_overlay
from sali.streaming.segmenter import MAPS, to_map

PNG_LEVEL = 1  # of 9: a third larger than at the usual 6, in a quarter of the time


def map_pictures(root: Path, rule: str) -> ClipWriter:
    """Return a writer of maps, `<clip>/<frame>.png` of the frame's size, by a rule of `to_map`."""
    if rule not in MAPS:
        raise ConfigError(f"maps: got {rule!r}, wanted one of {MAPS}")
    return _pictures(root, ".png", lambda result: to_map(result.tensor, rule).cpu().numpy())


def overlay_pictures(root: Path, point: OperatingPoint) -> ClipWriter:
    """Return a writer of overlays, tint and contour over the frame, as `<clip>/<frame>.jpg`."""
    return _pictures(
        root, ".jpg", lambda one: draw_overlay(one.picture, one.probability, point=point)
    )


def _pictures(root: Path, suffix: str, draw: Callable[[Result], np.ndarray]) -> ClipWriter:
    return ClipWriter(root, lambda source, saved: _Folder(root / source.name, suffix, draw, saved))


@dataclass
class _Folder:
    """Pictures of a clip in a hidden folder that is renamed when the clip is whole."""

    final: Path
    suffix: str
    draw: Callable[[Result], np.ndarray]
    saved: dict[str, Any] | None

    def __post_init__(self) -> None:
        self._partial = folder = self.final.with_name(f".{self.final.name}.partial")
        self._count = self.saved["pictures"] if self.saved else 0
        if self.saved is None:
            shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
            folder.mkdir(parents=True)
            return
        # Frames of a video are numbered, so the first ones by name are those that were saved.
        there = sorted(folder.iterdir(), key=lambda path: int(path.stem)) if folder.is_dir() else []
        if len(there) < self._count:
            raise DataError(f"{folder} holds {len(there)} of {self._count} pictures")
        for path in there[self._count :]:
            path.unlink()

    def write(self, result: Result) -> None:
        path = self._partial / f"{result.stem}{self.suffix}"
        marks = PngInfo()
        marks.add_text("Software", MARK)
        picture = Image.fromarray(self.draw(result))
        # Each format takes its own options.
        picture.save(path, compress_level=PNG_LEVEL, pnginfo=marks, comment=MARK)
        self._count += 1

    def save(self) -> dict[str, Any]:
        return {"pictures": self._count}

    def suspend(self) -> None:
        """Every picture is on disk already."""

    def close(self, whole: bool) -> None:
        if whole:
            shutil.rmtree(self.final, ignore_errors=True)
            self._partial.rename(self.final)
        else:
            shutil.rmtree(self._partial, ignore_errors=True)
