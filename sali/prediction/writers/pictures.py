"""Maps and overlays as picture files, a folder for each clip."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sali.errors import ConfigError, DataError
from sali.prediction.result import Result
from sali.prediction.sources import Source
from sali.report.overlay import draw_overlay
from sali.streaming.maps import RULES, to_map

PNG_LEVEL = 1  # of 9: a third larger than at the usual 6, in a quarter of the time


class _ClipFolders:
    """Pictures of each clip in a hidden folder that is renamed when the clip is whole.

    Attributes:
        root: Folder of the clips.
        unfinished: Number of pictures written by unfinished clip.
        suffix: Ending of the files.
    """

    suffix: str

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.unfinished: dict[str, int] = {}

    def _partial(self, clip: str) -> Path:
        final = self.root / clip
        return final.with_name(f".{final.name}.partial")

    def _save(self, result: Result, picture: np.ndarray) -> None:
        clip = result.clip
        if clip not in self.unfinished:  # what a killed run left
            shutil.rmtree(self._partial(clip), ignore_errors=True)
            self._partial(clip).mkdir(parents=True)
            self.unfinished[clip] = 0
        path = self._partial(clip) / f"{result.stem}{self.suffix}"
        Image.fromarray(picture).save(path, compress_level=PNG_LEVEL)
        self.unfinished[clip] += 1

    def save(self, clip: str) -> dict[str, Any]:
        return {"pictures": self.unfinished[clip]}

    def restore(self, source: Source, state: dict[str, Any]) -> None:
        # Frames of a video are numbered, so the first ones by name are those that were saved.
        folder, kept = self._partial(source.name), state["pictures"]
        there = sorted(folder.iterdir(), key=lambda path: int(path.stem)) if folder.is_dir() else []
        if len(there) < kept:
            raise DataError(f"{folder} holds {len(there)} of {kept} pictures")
        for path in there[kept:]:
            path.unlink()
        self.unfinished[source.name] = kept

    def finish(self, clip: str) -> None:
        if clip in self.unfinished:
            final = self.root / clip
            shutil.rmtree(final, ignore_errors=True)
            self._partial(clip).rename(final)
            del self.unfinished[clip]

    def suspend(self) -> None:
        """Every picture is on disk already."""

    def discard(self) -> None:
        for clip in self.unfinished:
            shutil.rmtree(self._partial(clip), ignore_errors=True)
        self.unfinished.clear()


class Maps(_ClipFolders):
    """Maps as `<clip>/<frame>.png` at the frame's own size.

    Args:
        root: Folder of the maps.
        rule: What a map shows, see `sali.streaming.maps`.

    Raises:
        ConfigError: Unknown rule.
    """

    suffix = ".png"

    def __init__(self, root: Path, rule: str) -> None:
        if rule not in RULES:
            raise ConfigError(f"maps: got {rule!r}, wanted one of {RULES}")
        super().__init__(root)
        self._rule = rule

    def write(self, result: Result) -> None:
        self._save(result, to_map(result.tensor, self._rule).cpu().numpy())


class OverlayPictures(_ClipFolders):
    """Overlays as `<clip>/<frame>.jpg`: tint and contour over the frame.

    Args:
        root: Folder of the overlays.
        threshold: Probability from which on a pixel is polyp.
    """

    suffix = ".jpg"

    def __init__(self, root: Path, threshold: float) -> None:
        super().__init__(root)
        self._threshold = threshold

    def write(self, result: Result) -> None:
        drawn = draw_overlay(result.picture, result.probability, threshold=self._threshold)
        self._save(result, drawn)
