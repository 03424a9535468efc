"""The frames of a test that went worst."""

import heapq
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
from PIL import Image

from sali.callbacks.overlays import overlay
from sali.callbacks.showing import show_images
from sali.metrics.fixed_threshold import NAMES, fixed_threshold_scores
from sali.run.processes import gathered


class _Candidate(NamedTuple):
    """Compared from the left: a minus, as the smallest of a heap goes first."""

    minus_dice: float
    clip: str
    number: int
    stem: str
    picture: np.ndarray


class WorstFrames(L.Callback):
    """Overlays of the lowest Dice at the fixed threshold, over all processes.

    Args:
        folder: for ``worst_<subset>/<place>_<clip>_<frame>.jpg``; the worst frame is place 1.
        per_subset: how many; 0 for none.
    """

    def __init__(self, folder: str, per_subset: int) -> None:
        self.folder = Path(folder)
        self.per_subset = per_subset
        self._worst: dict[str, list[_Candidate]] = {}

    def on_test_epoch_start(self, trainer: Any, task: Any) -> None:
        self._worst = {subset: [] for subset in trainer.datamodule.test_clips}

    def on_test_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int, part: int = 0
    ) -> None:
        subset, clips = list(trainer.datamodule.test_clips.items())[part]
        worst = self._worst[subset]
        for frame, probability in outputs["results"] if self.per_subset else ():
            mask = frame.mask.to(probability.device)
            minus_dice = -float(
                fixed_threshold_scores(probability, mask)[NAMES.index("dice_at_0.5")]
            )
            if len(worst) == self.per_subset and minus_dice <= worst[0].minus_dice:
                continue
            clip = clips[frame.clip]
            stem = clip.frames[frame.number].stem
            picture = overlay(clip, frame, probability)
            candidate = _Candidate(minus_dice, clip.name, frame.number, stem, picture)
            if len(worst) < self.per_subset:
                heapq.heappush(worst, candidate)
            else:
                heapq.heapreplace(worst, candidate)

    def on_test_epoch_end(self, trainer: Any, task: Any) -> None:
        for subset, own in self._worst.items():
            every = [one for of_process in gathered(own) for one in of_process]
            # Clips may be on every process, where there are fewer of them than processes.
            unique = {(one.clip, one.number): one for one in every}
            worst = sorted(unique.values(), reverse=True)[: self.per_subset]
            if trainer.is_global_zero and worst:
                self._write(trainer, subset, worst)
        self._worst = {}

    def _write(self, trainer: Any, subset: str, worst: list[_Candidate]) -> None:
        folder = self.folder / f"worst_{subset}"
        folder.mkdir(parents=True, exist_ok=True)
        paths, captions = [], []
        for place, one in enumerate(worst, 1):
            path = folder / f"{place:02d}_{one.clip}_{one.stem}.jpg"
            Image.fromarray(one.picture).save(path, quality=90)
            paths.append(path)
            captions.append(f"{one.clip} {one.stem}: {NAMES[0]} {-one.minus_dice:.3f}")
        show_images(trainer, f"test/{subset}/worst_frames", paths, captions)
