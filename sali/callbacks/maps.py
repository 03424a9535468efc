"""The maps of a test."""

from pathlib import Path
from typing import Any

import lightning as L
from PIL import Image

from sali.streaming.maps import to_map


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
