"""Results of a test as tables and curves."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from sali.callbacks.showing import show_images, show_table
from sali.metrics.calibration import PROBABILITIES
from sali.metrics.curves import confusion_at
from sali.report.plots import plot_precision_recall

TABLE_EVERY = 5
"""Grey levels between two rows of a table of a curve."""


def precision_recall(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall [256] over the pixels of all frames, at thresholds from 0 to 1.

    Args:
        pixels: counts [2, 256], background and polyp by grey level of the map.

    Returns:
        Precision is NaN where nothing is marked, recall where there is no polyp.
    """
    found = confusion_at(pixels, PROBABILITIES, PROBABILITIES)
    with np.errstate(invalid="ignore"):
        return (
            found.true_positive / (found.true_positive + found.false_positive),
            found.true_positive / (found.true_positive + found.false_negative),
        )


class ResultTables(L.Callback):
    """Per subset a table of the clips' figures, and precision over recall of all pixels.

    Args:
        folder: for ``precision_recall_pixels_<subset>.png``.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_test_end(self, trainer: Any, task: Any) -> None:
        if not trainer.is_global_zero:
            return
        for subset, clips in task.results["clips"].items():
            names = list(next(iter(clips.values())))
            rows = [[clip, *scores.values()] for clip, scores in clips.items()]
            show_table(trainer, f"test/{subset}/clips", ["clip", *names], rows)
            self._curve(trainer, subset, task.pixels[subset])

    def _curve(self, trainer: Any, subset: str, pixels: np.ndarray) -> None:
        if not pixels[1].any():
            return  # no polyp, no recall
        precision, recall = precision_recall(pixels)
        stem = self.folder / f"precision_recall_pixels_{subset}"
        title = f"{subset}: pixels of all frames together"
        plot_precision_recall({subset: (precision, recall)}, stem, title=title)
        key = f"test/{subset}/precision_recall"
        show_images(trainer, key, [stem.with_suffix(".png")])
        columns = ["threshold", "precision", "recall"]
        rows = list(zip(PROBABILITIES, precision, recall, strict=True))[::TABLE_EVERY]
        show_table(trainer, f"{key}_table", columns, [list(map(float, row)) for row in rows])
