"""A run that is asked to stop, by a cluster or by `kill`, saves where it is."""

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import lightning as L

from sali.errors import UserError


class PreemptedError(UserError):
    """The run was asked to stop and can go on later."""


class Preemption(L.Callback):
    """On SIGTERM, finish the training step, write the checkpoint and stop with ``PreemptedError``.

    Any process may get the signal; all stop after the same step. In a validation the signal waits
    for the next training step; in a test, which has nothing to save, the run stops at once.

    Under SLURM, SIGUSR1 does the same and puts the job back in the queue.

    Lightning's own handlers are replaced in training: they talk to the other processes from within
    the signal, where these may be in the middle of something else.

    Args:
        path: of the checkpoint.
        check_every_n_steps: how often several processes ask each other; a single one looks after
            every step.
    """

    def __init__(self, path: str, check_every_n_steps: int) -> None:
        if check_every_n_steps < 1:
            raise ValueError(f"check_every_n_steps is {check_every_n_steps}; wanted at least 1")
        self.path = Path(path)
        self.check_every_n_steps = check_every_n_steps
        self._is_asked = self._goes_in_queue = False

    def on_train_start(self, trainer: L.Trainer, task: Any) -> None:
        self._is_asked = self._goes_in_queue = False
        _handle(signal.SIGTERM, self._ask)
        if "SLURM_JOB_ID" in os.environ:
            _handle(signal.SIGUSR1, self._ask_and_queue)

    def on_train_batch_end(
        self, trainer: L.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # half of a step is not in a checkpoint
        if trainer.world_size == 1 or trainer.global_step % self.check_every_n_steps == 0:
            self._stop_if_asked(trainer, save=True)

    def on_train_end(self, trainer: L.Trainer, task: Any) -> None:
        self._stop_if_asked(trainer, save=False)  # the last epoch's checkpoint is there

    def on_test_start(self, trainer: L.Trainer, task: Any) -> None:
        _handle(signal.SIGTERM, self._stop)

    def _ask(self, *_: Any) -> None:
        self._is_asked = True

    def _ask_and_queue(self, *_: Any) -> None:
        self._is_asked = self._goes_in_queue = True

    def _stop(self, *_: Any) -> None:
        run = self.path.parent.parent
        raise PreemptedError(
            f"SIGTERM or SIGUSR1: stopped; go on with ckpt_path=auto hydra.run.dir={run}"
        )

    def _stop_if_asked(self, trainer: L.Trainer, save: bool) -> None:
        if trainer.strategy.reduce_boolean_decision(self._is_asked, all=False):
            if save:
                trainer.save_checkpoint(self.path)
            if self._goes_in_queue and trainer.is_global_zero:
                subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
            self._stop()


def _handle(number: signal.Signals, handler: Any) -> None:
    # Lightning puts back what was there when the training or the test ends.
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)
