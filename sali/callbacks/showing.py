"""Pictures and tables for those of a run's loggers that can show them.

The files themselves are in the run's folder, with any logger.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image


def show_images(
    trainer: L.Trainer, key: str, paths: Sequence[Path], captions: Sequence[str] | None = None
) -> None:
    """Log image files under one key."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            more = {"caption": list(captions)} if captions else {}
            logger.log_image(key, [str(path) for path in paths], trainer.global_step, **more)
        elif isinstance(logger, TensorBoardLogger):
            for index, path in enumerate(paths):
                name = f"{key}/{index}" if len(paths) > 1 else key
                picture = np.asarray(Image.open(path).convert("RGB"))
                logger.experiment.add_image(name, picture, trainer.global_step, dataformats="HWC")


def show_video(trainer: L.Trainer, key: str, path: Path) -> None:
    """Log a GIF; W&B takes the file as it is, TensorBoard would need moviepy and shows none."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            kind = path.suffix.removeprefix(".")
            logger.log_video(key, [str(path)], trainer.global_step, format=[kind])


def show_table(
    trainer: L.Trainer, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Log a table."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            data = [list(row) for row in rows]
            logger.log_table(key, list(columns), data, step=trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            lines = [columns, ["---"] * len(columns), *rows]
            text = "\n".join("|" + "|".join(map(str, line)) + "|" for line in lines)
            logger.experiment.add_text(key, text, trainer.global_step)
