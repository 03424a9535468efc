"""The Weights & Biases logger of a run, and the one place where its run ends."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from sali.run.io import read_json, write_json

RECORD = "wandb_run.json"


class WandbRunLogger(WandbLogger):
    """One W&B run per run folder, however often it is resumed, and one row per training step.

    `wandb_run.json` in the folder holds the run's id and the last step that was logged. Steps
    that a resumed run repeats, because they came after its checkpoint, are not logged again.

    Args:
        save_dir: Folder of the run; W&B's files go to `wandb/` in it.
        kwargs: Arguments of Lightning's `WandbLogger` and of `wandb.init`.
    """

    def __init__(self, save_dir: str, **kwargs: Any) -> None:
        self._record = Path(save_dir) / RECORD
        found = read_json(self._record)
        super().__init__(save_dir=save_dir, version=found.get("id"), **kwargs)
        self._logged_before: int = found.get("last_step", -1)
        self._step = self._logged_before

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a row of W&B's history, whose number is the training step."""
        if step is None:
            self.experiment.log(dict(metrics))
            return
        # The scores of a test stand behind the last step, and a repeated test says the same.
        of_test = any(name.startswith("test/") for name in metrics)
        if step <= self._logged_before and not of_test:
            return
        self.experiment.log({**metrics, "trainer/global_step": step}, step=step)
        if step > self._step and not of_test:
            # W&B writes a row when the next one begins: the row before is on disk now.
            self._note(self._step)
            self._step = step

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """End the run; W&B shows it as failed unless `exit_code` is 0."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=exit_code)
            self._note(self._step)

    def _note(self, step: int) -> None:
        write_json(self._record, {"id": self.version, "last_step": step})


@rank_zero_only
def forget_wandb_run(folder: Path) -> None:
    """Make the next run in a run's folder a W&B run of its own."""
    (folder / RECORD).unlink(missing_ok=True)


@contextmanager
def finished(loggers: list[Any]) -> Iterator[None]:
    """End the W&B runs of these loggers with an exit code that says whether the block succeeded."""
    exit_code = 1
    try:
        yield
        exit_code = 0
    finally:
        for logger in loggers:
            if isinstance(logger, WandbRunLogger):
                logger.finish(exit_code)
