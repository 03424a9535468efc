"""Test frames with the prediction drawn over them."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from PIL import Image

from sali.callbacks.showing import show_images
from sali.data.clips import Clip
from sali.data.frames import read_frame
from sali.data.samples import Frame
from sali.report.overlay import contact_sheet, draw_overlay

SHEET_COLUMNS = 4
SHEET_CELL_PIXELS = 320


def overlay(clip: Clip, frame: Frame, probability: Any) -> np.ndarray:
    """A frame, read again, with its probability [H, W] and its true mask; RGB uint8 [H, W, 3]."""
    picture, _ = read_frame(clip.frames[frame.number])
    assert frame.mask is not None
    return draw_overlay(picture, probability.float().cpu().numpy(), frame.mask.cpu().numpy())


class SaveOverlays(L.Callback):
    """One contact sheet per subset: frames at even distances, true mask yellow, prediction cyan.

    Args:
        folder: for ``overlays_<subset>.jpg``.
        per_subset: frames on a sheet.
    """

    def __init__(self, folder: Path, per_subset: int) -> None:
        self.folder = folder
        self.per_subset = per_subset
        self._pictures: dict[str, list[np.ndarray]] = {}
        self._seen: dict[str, int] = {}

    def on_test_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int, part: int = 0
    ) -> None:
        if not trainer.is_global_zero:
            return
        subset, clips = list(trainer.datamodule.test_clips.items())[part]
        total = sum(len(clip.frames) for clip in clips)
        every = max(1, total // (self.per_subset * trainer.world_size))
        pictures = self._pictures.setdefault(subset, [])
        for frame, probability in outputs["results"]:
            number = self._seen.get(subset, 0)
            self._seen[subset] = number + 1
            if number % every == every // 2 and len(pictures) < self.per_subset:
                pictures.append(overlay(clips[frame.clip], frame, probability))

    def on_test_epoch_end(self, trainer: Any, task: Any) -> None:
        for subset, pictures in self._pictures.items():
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"overlays_{subset}.jpg"
            sheet = contact_sheet(pictures, SHEET_COLUMNS, SHEET_CELL_PIXELS)
            Image.fromarray(sheet).save(path, quality=90)
            show_images(trainer, f"test/{subset}/overlays", [path])
