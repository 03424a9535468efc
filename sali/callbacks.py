"""What a test leaves behind to be looked at: maps and overlays."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from PIL import Image

from sali.data.frames import read_frame
from sali.figures.overlay import contact_sheet, draw_overlay
from sali.streaming.maps import to_map

SHEET_COLUMNS = 4
SHEET_CELL_PIXELS = 320


class SaveMaps(L.Callback):
    """Write every test map to ``folder/<subset>/<clip>/<frame>.png``.

    Args:
        folder: root of the maps.
        rule: see ``sali.streaming.maps``.
    """

    def __init__(self, folder: Path, rule: str) -> None:
        self.folder = folder
        self.rule = rule

    def on_test_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int, part: int = 0
    ) -> None:
        subset, clips = list(trainer.datamodule.test_clips.items())[part]
        for frame, probability in outputs["results"]:
            clip = clips[frame.clip]
            target = self.folder / subset / clip.name / f"{clip.frames[frame.number].stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(to_map(probability, self.rule).cpu().numpy()).save(target)


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
                picture, _ = read_frame(clips[frame.clip].frames[frame.number])
                mask = frame.mask.cpu().numpy()
                pictures.append(draw_overlay(picture, probability.float().cpu().numpy(), mask))

    def on_test_epoch_end(self, trainer: Any, task: Any) -> None:
        for subset, pictures in self._pictures.items():
            self.folder.mkdir(parents=True, exist_ok=True)
            sheet = contact_sheet(pictures, SHEET_COLUMNS, SHEET_CELL_PIXELS)
            Image.fromarray(sheet).save(self.folder / f"overlays_{subset}.jpg", quality=90)
