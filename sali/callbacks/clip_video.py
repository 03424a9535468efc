"""A test clip as a short film."""

from pathlib import Path
from typing import Any

import cv2
import lightning as L
from PIL import Image

from sali.callbacks.overlays import overlay
from sali.callbacks.showing import show_video


class ClipVideo(L.Callback):
    """The beginning of each subset's first clip with true mask and prediction, as a GIF.

    Args:
        folder: for ``clip_<subset>.gif``.
        max_frames: length; 0 for no film.
        frames_per_second: of the film.
        width: in pixels.
    """

    def __init__(self, folder: str, max_frames: int, frames_per_second: float, width: int) -> None:
        self.folder = Path(folder)
        self.max_frames = max_frames
        self.frames_per_second = frames_per_second
        self.width = width
        self._films: dict[str, list[Image.Image]] = {}

    def on_test_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int, part: int = 0
    ) -> None:
        subset, clips = list(trainer.datamodule.test_clips.items())[part]
        for frame, probability in outputs["results"] if trainer.is_global_zero else ():
            # The first clip is always on the first process.
            if frame.clip == 0 and frame.number < self.max_frames:
                picture = overlay(clips[0], frame, probability)
                size = self.width, round(self.width * picture.shape[0] / picture.shape[1])
                small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                self._films.setdefault(subset, []).append(Image.fromarray(small))

    def on_test_epoch_end(self, trainer: Any, task: Any) -> None:
        for subset, (first, *rest) in self._films.items():
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"clip_{subset}.gif"
            milliseconds = round(1000 / self.frames_per_second)
            first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0)
            show_video(trainer, f"test/{subset}/clip", path)
        self._films = {}
