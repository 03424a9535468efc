"""A clip as small pictures and outlines: what a page needs to play it.

Kept as one JSON file per clip, so that a page can be made again without frames, masks or maps.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sali.metrics.counted_frame import BoolArray, ByteArray
from sali.report.folder import films_folder
from sali.report.options import FilmRules
from sali.run.io import write_json

Outlines = list[list[int]]
"""Closed polygons, each x, y, x, y ... in pixels of the small picture."""


def film_path(folder: Path, subset: str, clip: str) -> Path:
    """Return where the film of a clip is in a run's folder."""
    return films_folder(folder) / subset / f"{clip}.json"


class Film:
    """The frames of a clip that are kept.

    Args:
        subset: Subset of the clip.
        clip: Name of the clip.
        num_frames: Number of frames of the whole clip.
        rules: How much is kept.
    """

    def __init__(self, subset: str, clip: str, num_frames: int, rules: FilmRules) -> None:
        self.subset, self.clip, self.num_frames = subset, clip, num_frames
        self.rules = rules
        self.every = -(-num_frames // rules.max_frames)
        self._size: tuple[int, int] | None = None
        self._frames: list[dict[str, Any]] = []

    def keeps(self, index: int) -> bool:
        """Return whether a frame, by its place in the clip, is one of those that are kept."""
        return index % self.every == 0

    def add(
        self,
        index: int,
        picture: ByteArray | None,
        truth: BoolArray,
        predictions: Mapping[str, BoolArray],
    ) -> None:
        """Add the next frame that is kept.

        Args:
            index: Place of the frame in the clip.
            picture: Frame, RGB uint8 [h, w, 3] of any size; None where it cannot be read.
            truth: True mask, bool [H, W].
            predictions: Predicted masks, bool [H, W], by method.
        """
        if self._size is None:
            height, width = truth.shape
            self._size = max(1, round(self.rules.height * width / height)), self.rules.height
        self._frames.append(
            {
                "index": index,
                "picture": None if picture is None else self._jpeg(picture),
                "truth": self._outlines(truth),
                "predictions": {name: self._outlines(m) for name, m in predictions.items()},
            }
        )

    def save(self, path: Path) -> None:
        """Write the film through a temporary file, so that nobody reads half of it."""
        assert self._size is not None
        content = {
            "subset": self.subset,
            "clip": self.clip,
            "num_frames": self.num_frames,
            "every": self.every,
            "width": self._size[0],
            "height": self._size[1],
            "frames": self._frames,
        }
        write_json(path, content, indent=None)

    def _jpeg(self, picture: ByteArray) -> str:
        assert self._size is not None
        small = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        quality = [cv2.IMWRITE_JPEG_QUALITY, self.rules.quality]
        is_written, code = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
        assert is_written
        return base64.b64encode(code.tobytes()).decode()

    def _outlines(self, mask: BoolArray) -> Outlines:
        assert self._size is not None
        share = cv2.resize(mask.astype(np.float32), self._size, interpolation=cv2.INTER_AREA)
        area = (share >= 0.5).astype(np.uint8)
        found, _ = cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        return [
            cv2.approxPolyDP(points, self.rules.tolerance, True).ravel().tolist()
            for points in found
        ]
