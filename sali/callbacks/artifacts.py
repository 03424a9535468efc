"""Weights and maps as W&B artifacts, for those who want them there."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import WandbLogger

from sali.errors import ConfigError
from sali.evaluation.run import Evaluation


class LogArtifacts(L.Callback):
    """Log checkpoint or maps as artifacts of the W&B run after the test; offline too.

    Args:
        checkpoint: File to log as `model-<run id>`.
        log_model: Whether to log it.
        log_maps: Whether to log the maps of the test as `maps-<run id>`.
    """

    def __init__(self, checkpoint: str, log_model: bool, log_maps: bool) -> None:
        self.checkpoint = Path(checkpoint)
        self.log_model = log_model
        self.log_maps = log_maps

    def setup(self, trainer: L.Trainer, task: Any, stage: str) -> None:
        """Refuse before the training what could not be logged after it."""
        is_wanted = self.log_model or self.log_maps
        if is_wanted and not any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            raise ConfigError("log_model and log_maps are for W&B; add logger=wandb or logger=many")

    def on_tested(self, trainer: L.Trainer, tested: Evaluation) -> None:
        """Log the artifacts."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                run = logger.experiment
                if self.log_model:
                    run.log_artifact(str(self.checkpoint), name=f"model-{run.id}", type="model")
                if self.log_maps:
                    folder = str(tested.output / "maps")
                    run.log_artifact(folder, name=f"maps-{run.id}", type="maps")
