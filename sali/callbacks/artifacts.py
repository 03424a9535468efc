"""Weights and maps as W&B artifacts, for those who want them there."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import WandbLogger

from sali.callbacks.maps import SaveMaps
from sali.errors import ConfigError


class LogArtifacts(L.Callback):
    """After the test, log checkpoints or maps as artifacts of the W&B run; offline too.

    Args:
        checkpoint: file to be logged as ``model-<run id>``.
        log_model: log it.
        log_maps: log the test's maps as ``maps-<run id>``; needs ``save_maps=true``.
    """

    def __init__(self, checkpoint: str, log_model: bool, log_maps: bool) -> None:
        self.checkpoint = Path(checkpoint)
        self.log_model = log_model
        self.log_maps = log_maps

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        """Refuse before the training what could not be logged after it."""
        if not (self.log_model or self.log_maps):
            return
        if not any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            raise ConfigError("log_model and log_maps are for W&B; add logger=wandb or logger=many")
        if self.log_maps and not self._maps_folder(trainer):
            raise ConfigError("log_maps needs maps; add save_maps=true")

    def _maps_folder(self, trainer: Any) -> Path | None:
        return next((c.folder for c in trainer.callbacks if isinstance(c, SaveMaps)), None)

    def on_test_end(self, trainer: Any, task: Any) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                run = logger.experiment
                if self.log_model:
                    run.log_artifact(str(self.checkpoint), name=f"model-{run.id}", type="model")
                if self.log_maps:
                    folder = str(self._maps_folder(trainer))
                    run.log_artifact(folder, name=f"maps-{run.id}", type="maps")
