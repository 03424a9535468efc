"""Saving and stopping a run when a cluster or `kill` asks for it."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import lightning as L

from sali.errors import UserError


class PreemptedError(UserError):
    """A run that was asked to stop and can be resumed."""


class Preemption(L.Callback):
    """Checkpoint and stop on SIGTERM: at the end of the training step, with `PreemptedError`.

    Any process may get the signal; all stop after the same step. In a validation, and in a step
    that one follows, the signal waits for the next step or the end of the epoch, where
    `ModelCheckpoint` saves: from a checkpoint before the validation Lightning would go on without
    it. The test that follows has `stopping_at_once`.

    Under SLURM, SIGUSR1 does the same and puts the job back in the queue.

    Lightning's own handlers are replaced in training: they talk to the other processes from within
    the signal, where these may be in the middle of something else.

    Args:
        path: Checkpoint to write.
        check_every_n_steps: Steps between two questions of several processes to each other; a
            single process looks after every step.
    """

    def __init__(self, path: str, check_every_n_steps: int) -> None:
        if check_every_n_steps < 1:
            raise ValueError(f"check_every_n_steps: got {check_every_n_steps}, wanted at least 1")
        self.path = Path(path)
        self.check_every_n_steps = check_every_n_steps
        self._is_asked = self._is_saved = self._goes_in_queue = False
        self._stops_after_epoch = False

    def on_train_start(self, trainer: L.Trainer, task: Any) -> None:
        self._is_asked = self._is_saved = self._goes_in_queue = False
        self._stops_after_epoch = False
        _handle(signal.SIGTERM, self._ask)
        if "SLURM_JOB_ID" in os.environ:
            _handle(signal.SIGUSR1, self._ask)

    def on_train_batch_end(
        self, trainer: L.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # half of a step is not in a checkpoint
        is_time = trainer.world_size == 1 or trainer.global_step % self.check_every_n_steps == 0
        if is_time and self._are_asked(trainer):
            if _is_validated_after(trainer, batch_idx):
                self._stops_after_epoch = trainer.is_last_batch
                return
            trainer.save_checkpoint(self.path)
            self._is_saved = True

    # What the step said is logged after `on_train_batch_end`, so the run stops after that.

    def on_train_batch_start(
        self, trainer: L.Trainer, task: Any, batch: Any, batch_idx: int
    ) -> None:
        self._stop_if_saved(trainer)

    def on_validation_start(self, trainer: L.Trainer, task: Any) -> None:
        self._stop_if_saved(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, task: Any) -> None:
        self._is_saved = self._is_saved or self._stops_after_epoch

    def on_train_end(self, trainer: L.Trainer, task: Any) -> None:
        self._is_saved = self._is_saved or self._are_asked(trainer)  # the last epoch's is there
        self._stop_if_saved(trainer)

    def _ask(self, number: int, _: Any) -> None:
        self._is_asked = True
        self._goes_in_queue = self._goes_in_queue or number == signal.SIGUSR1

    def _are_asked(self, trainer: L.Trainer) -> bool:
        """Return whether any process was asked to stop."""
        return trainer.strategy.reduce_boolean_decision(self._is_asked, all=False)

    def _stop_if_saved(self, trainer: L.Trainer) -> None:
        if self._is_saved:
            if self._goes_in_queue and trainer.is_global_zero:
                subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
            _stop(self.path.parent.parent)


def _is_validated_after(trainer: L.Trainer, batch_idx: int) -> bool:
    """Return whether a validation follows a batch of the epoch, as Lightning's loop decides."""
    every, interval = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not trainer.enable_validation or (every and (trainer.current_epoch + 1) % every):
        return False
    if interval is None or interval == float("inf"):
        return trainer.is_last_batch
    batch = trainer.fit_loop.total_batch_idx if every is None else batch_idx
    return (batch + 1) % interval == 0


@contextmanager
def stopping_at_once(run: Path) -> Iterator[None]:
    """Raise `PreemptedError` on SIGTERM, for work of a run that has no state to save."""
    before = signal.getsignal(signal.SIGTERM)
    _handle(signal.SIGTERM, lambda *_: _stop(run))
    try:
        yield
    finally:
        _handle(signal.SIGTERM, before)


def _stop(run: Path) -> NoReturn:
    raise PreemptedError(
        f"SIGTERM or SIGUSR1: stopped; resume with ckpt_path=auto hydra.run.dir={run}"
    )


def _handle(number: signal.Signals, handler: Any) -> None:
    # Lightning puts back what was there when the training ends.
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)
