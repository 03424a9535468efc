"""A callback from outside."""

import json
from pathlib import Path
from typing import Any

import lightning as L


class LossHistory(L.Callback):
    """Write the loss of every training step to a JSON file when the training ends.

    Args:
        path: File to write.
        rounding: Nested options, `{"digits": number of decimal places}`.
    """

    def __init__(self, path: str, rounding: dict[str, int]) -> None:
        self.path = Path(path)
        self.digits = rounding["digits"]
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(round(float(outputs["loss"]), self.digits))

    def on_train_end(self, trainer: L.Trainer, task: Any) -> None:
        self.path.write_text(json.dumps(self.losses))
