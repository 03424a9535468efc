"""How a training ends: within an epoch, by numbers that are not finite, by Ctrl-C."""

import os
import signal

import pytest
import torch
from miniature import assert_same_end, run, status

from sali.errors import ConfigError, DivergedError
from sali.models.weights import read_file
from sali.run.preemption import PreemptedError
from sali.task import MONITOR, SegmentationTask


def at_step(monkeypatch, step, change):
    """Let a training step change its loss."""
    plain = SegmentationTask.training_step

    def training_step(task, batch, batch_idx):
        loss = plain(task, batch, batch_idx)
        return change(loss) if task.global_step == step else loss

    monkeypatch.setattr(SegmentationTask, "training_step", training_step)


def weights_are_finite(folder, name):
    state = read_file(folder / f"checkpoints/{name}.ckpt")["state_dict"]
    return all(torch.isfinite(tensor.float()).all() for tensor in state.values())


@pytest.mark.parametrize("tested", ["best", pytest.param("last", marks=pytest.mark.slow)])
def test_a_training_that_ends_within_an_epoch_is_validated_there(data_root, tmp_path, tested):
    more = ["trainer.max_steps=2", "trainer.max_epochs=-1", "trainer.check_val_every_n_epoch=3"]
    results = run(
        data_root, tmp_path, "trainer.limit_train_batches=4", f"test_checkpoint={tested}", *more
    )
    assert set(results["best"]) == {MONITOR} and results["checkpoint"] == tested
    for name in ("best", "last"):
        assert read_file(tmp_path / f"checkpoints/{name}.ckpt")["global_step"] == 2


@pytest.mark.parametrize(
    "more", ["trainer.check_val_every_n_epoch=3", "+trainer.limit_val_batches=0"]
)
def test_a_training_without_validation_is_refused_before_its_first_step(data_root, tmp_path, more):
    with pytest.raises(ConfigError, match="nothing would be validated"):
        run(data_root, tmp_path, more)
    assert not (tmp_path / "checkpoints").exists()


def test_numbers_that_are_not_finite_end_the_training_at_that_step(
    data_root, tmp_path, monkeypatch
):
    at_step(monkeypatch, 1, lambda loss: loss * float("inf"))
    with pytest.raises(DivergedError, match="step 2: the loss or a gradient is not finite"):
        run(data_root, tmp_path)
    assert status(tmp_path)["state"] == "failed" and "step 2" in status(tmp_path)["error"]
    assert not (tmp_path / "metrics.json").exists()
    for name in ("best", "last"):
        assert weights_are_finite(tmp_path, name)
        assert read_file(tmp_path / f"checkpoints/{name}.ckpt")["global_step"] == 1


def test_a_learning_rate_far_too_high_leaves_no_checkpoint(data_root, tmp_path):
    with pytest.raises(DivergedError, match="not finite .learning rate 1e.30."):
        run(data_root, tmp_path, "optimizer.lr=1e30", "scheduler=constant")
    assert status(tmp_path)["state"] == "failed"
    assert not list((tmp_path / "checkpoints").glob("*.ckpt"))


@pytest.fixture
def handler():
    """The handler of Ctrl-C, whatever an earlier test left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before or signal.default_int_handler)


def test_ctrl_c_is_an_interruption_and_says_how_to_resume(
    data_root, tmp_path, monkeypatch, handler
):
    def interrupt(loss):
        raise KeyboardInterrupt

    for step, said in ((0, "no checkpoint yet"), (1, f"ckpt_path=auto hydra.run.dir={tmp_path}")):
        with monkeypatch.context() as patched:
            at_step(patched, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(data_root, tmp_path)
        assert status(tmp_path)["state"] == "interrupted" and said in status(tmp_path)["error"]
        assert signal.getsignal(signal.SIGINT) is handler
    assert run(data_root, tmp_path, "ckpt_path=auto")["best"]
    assert status(tmp_path)["state"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3])
def test_a_sigterm_in_the_last_step_of_an_epoch_leaves_out_no_validation(
    data_root, tmp_path, monkeypatch, step
):
    def ask(loss):
        os.kill(os.getpid(), signal.SIGTERM)
        return loss

    whole, cut, more = tmp_path / "whole", tmp_path / "cut", ("trainer.limit_train_batches=2",)
    run(data_root, whole, *more)
    with monkeypatch.context() as patched:
        at_step(patched, step, ask)
        with pytest.raises(PreemptedError):
            run(data_root, cut, *more)
    assert read_file(cut / "checkpoints/last.ckpt")["global_step"] == step + 1
    run(data_root, cut, *more, "ckpt_path=auto")
    assert_same_end(whole, cut, 4)
    best, other = (read_file(folder / "checkpoints/best.ckpt") for folder in (whole, cut))
    assert best["global_step"] == other["global_step"]
