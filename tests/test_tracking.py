"""Records of a run: its state, its checkpoints, its dashboards."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from miniature import ROOT, assert_same_end, start, status, wait_for
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_scripts import keys_of, script
from wandb_file import read_run

from sali.callbacks import PreemptedError, Preemption
from sali.cli import _with_readable_errors
from sali.errors import DataError, OvertakenError, WeightsError
from sali.models.weights import read_file
from sali.run.checkpoints import AtomicCheckpointIO
from sali.run.io import atomic_write, read_json, write_json
from sali.run.loggers import WandbRunLogger, finished, forget_wandb_run
from sali.run.record import tracked
from sali.run.state import last_checkpoint, set_failed


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new/file.json"
    write_json(path, {"a": 1})
    with contextlib.suppress(RuntimeError), atomic_write(path) as partial:
        assert partial.parent == path.parent
        partial.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]
    path.write_text('{"a": ')
    with pytest.raises(DataError, match="file.json"):
        read_json(path)
    assert read_json(tmp_path / "absent.json") == {}


def test_a_folder_is_whole_or_absent(tmp_path):
    for fails in (True, False):
        with contextlib.suppress(RuntimeError), atomic_write(tmp_path / "clips") as draft:
            (draft / "one").mkdir(parents=True)
            if fails:
                raise RuntimeError
        assert [p.name for p in tmp_path.iterdir()] == ([] if fails else ["clips"])
    assert (tmp_path / "clips/one").is_dir()


def test_a_folder_that_another_process_wrote_meanwhile_stays(tmp_path):
    path = tmp_path / "clips"

    def write():
        with atomic_write(path) as draft:
            for folder in (draft, path):
                folder.mkdir()
                (folder / "one").write_text(folder.name)

    with pytest.raises(OvertakenError, match=r"clips was written by another process"):
        write()
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "one").read_text() == "clips"


def test_a_killed_run_is_failed(tmp_path):
    code = f"""
import os, signal, sys
from pathlib import Path
from sali.run.record import tracked
with tracked(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: status(tmp_path)["state"] == "failed", 10)
    assert "killed from outside" in status(tmp_path)["error"]


def test_the_first_failure_is_told(tmp_path):
    def lose_the_other_process():
        assert status(tmp_path) == {"state": "running", "error": None}
        set_failed(tmp_path, "of another process, that this one followed")
        raise KeyError("lost the other process")

    with pytest.raises(KeyError), tracked(tmp_path):
        lose_the_other_process()
    assert status(tmp_path)["error"].startswith("of another process")
    with tracked(tmp_path):
        pass
    assert status(tmp_path) == {"state": "finished", "error": None}


def test_a_checkpoint_is_never_half_written(tmp_path, monkeypatch):
    io = AtomicCheckpointIO()
    last = tmp_path / "checkpoints/last.ckpt"
    assert last_checkpoint(tmp_path) is None
    io.save_checkpoint({"step": 1}, last)
    io.save_checkpoint({"step": 2}, last)

    def stops_half_way(content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", stops_half_way)
        with pytest.raises(OSError, match="no space"):
            io.save_checkpoint({"step": 3}, last)
    previous = last.with_name("last.previous.ckpt")
    assert [read_file(path)["step"] for path in (last, previous)] == [2, 1]
    assert last_checkpoint(tmp_path) == last

    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(WeightsError, match=f"cannot be read.*truncated.*ckpt_path={previous}"):
        io.load_checkpoint(last, weights_only=True)
    previous.unlink()
    with pytest.raises(WeightsError, match="ckpt_path=null"):
        io.load_checkpoint(last, weights_only=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    with open("/dev/full", "wb", buffering=0) as no_space:
        monkeypatch.setattr(Path, "open", lambda self, mode: no_space)
        with pytest.raises(OSError, match="No space left") as raised:
            AtomicCheckpointIO().save_checkpoint({"step": torch.zeros(9)}, path)
    monkeypatch.undo()
    assert raised.value.errno == errno.ENOSPC
    assert torch.load(path) == {"step": 1} and list(tmp_path.iterdir()) == [path]

    @_with_readable_errors
    def main(cfg):
        raise raised.value

    with pytest.raises(SystemExit, match="^error: No space left on device; make room"):
        main({})


def test_slurm_job_goes_back_in_the_queue(tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    trainer = Mock(
        world_size=1,
        accumulate_grad_batches=2,
        is_global_zero=True,
        check_val_every_n_epoch=1,
        current_epoch=0,
        val_check_batch=100,
    )
    trainer.strategy.reduce_boolean_decision = lambda decision, all: decision
    preemption = Preemption(str(tmp_path / "checkpoints/last.ckpt"), check_every_n_steps=10)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    try:
        preemption.on_train_start(trainer, None)
        preemption.on_train_batch_end(trainer, None, None, None, 1)
        os.kill(os.getpid(), signal.SIGUSR1)
        preemption.on_train_batch_end(trainer, None, None, None, 2)  # half of a step
        trainer.save_checkpoint.assert_not_called()
        preemption.on_train_batch_end(trainer, None, None, None, 3)
        trainer.save_checkpoint.assert_called_once_with(tmp_path / "checkpoints/last.ckpt")
        with pytest.raises(PreemptedError, match=f"ckpt_path=auto hydra.run.dir={tmp_path}$"):
            preemption.on_train_batch_start(trainer, None, None, 4)
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGUSR1), before, strict=True):
            signal.signal(number, handler)
    assert (tmp_path / "said").read_text() == "requeue 17\n"


def wandb_files(folder: Path) -> list[dict]:
    """Content of all offline runs of a run's folder, in order of time.

    A process of W&B's writes them and may end a moment after the run: its exit code is waited for.
    """
    files = list((folder / "wandb").glob("offline-run-*/*.wandb"))
    wait_for(lambda: all(read_run(path)["exit_code"] is not None for path in files))
    return [read_run(path) for path in sorted(files, key=lambda path: path.stat().st_mtime)]


def steps_of(run: dict) -> list[int]:
    return [row["_step"] for row in run["rows"]]


def test_a_resumed_wandb_run_is_one_run_without_repeated_steps(tmp_path):
    def log(steps, fails=False):
        logger = WandbRunLogger(str(tmp_path), offline=True, project="test")
        try:
            with finished([logger]):
                logger.log_hyperparams({"a": 1})
                for step in steps:
                    logger.log_metrics({"train/loss": float(step)}, step)
                    logger.log_metrics({"val/dice": step / 10}, step)
                assert not fails
        except AssertionError:
            assert fails

    log(range(4), fails=True)
    log(range(2, 6))  # from a checkpoint before step 2
    first, second = wandb_files(tmp_path)
    assert first["run"].run_id == second["run"].run_id
    assert steps_of(first) == [0, 1, 2, 3]
    assert steps_of(second) == [4, 5]
    for row in first["rows"] + second["rows"]:
        assert row["train/loss"] == row["_step"] == row["trainer/global_step"]
        assert row["val/dice"] == row["_step"] / 10
    assert (first["exit_code"], second["exit_code"]) == (1, 0)

    forget_wandb_run(tmp_path)
    log(range(1))
    third = wandb_files(tmp_path)[2]
    assert third["run"].run_id != first["run"].run_id and steps_of(third) == [0]


STEPS = 8
TRAINING = (
    "trainer.limit_train_batches=4",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "logger=many",
    "data.test_subsets=[unseen_easy]",  # its clip shows the polyp
    "callbacks=ema",
    "callbacks.ema.update_starting_at_step=1",
    "callbacks.artifacts.log_model=true",
    "callbacks.artifacts.log_maps=true",
    "backbone.drop_path_rate=0.2",
    "ckpt_path=auto",
)
EVERY_STEP = {"train/loss", "train/gradient_norm", "train/step_time", "train/samples_per_second"}
OF_MEMORY = {f"memory_{n}" for n in ("frames", "fill", "usage_per_read", "unread_share")}


@pytest.mark.slow
def test_a_preempted_run_goes_on_and_its_dashboards_are_whole(data_root, tmp_path):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    process = start(data_root, cut, *TRAINING, pictures=True)
    # Preempted in the middle of the second epoch.
    wait_for((cut / "checkpoints/last.ckpt").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 1
    assert status(cut)["state"] == "failed"
    assert "stopped; resume with ckpt_path=auto" in status(cut)["error"]
    assert f"hydra.run.dir={cut}" in status(cut)["error"]
    saved = read_file(cut / "checkpoints/last.ckpt")["global_step"]
    assert 4 < saved < STEPS
    assert start(data_root, cut, *TRAINING, pictures=True).wait(600) == 0
    assert start(data_root, whole, *TRAINING, pictures=True).wait(600) == 0
    assert_same_end(whole, cut, STEPS)

    first, second = wandb_files(cut)
    (alone,) = wandb_files(whole)
    run = second["run"]
    assert run.run_id == first["run"].run_id != alone["run"].run_id
    assert (run.run_group, run.job_type, run.project) == ("train", "train", "sali")
    assert (first["exit_code"], second["exit_code"]) == (1, 0)
    assert steps_of(first) + steps_of(second) == list(range(STEPS + 1)) == steps_of(alone)
    assert second["config"]["optimizer"]["lr"] == 1e-4
    rows = first["rows"] + second["rows"]
    for row, other in zip(rows[:STEPS], alone["rows"], strict=False):
        assert row.keys() >= EVERY_STEP | {"lr-AdamW/pg1"}
        for name in row.keys() - {"_runtime", "_timestamp", *EVERY_STEP} | {"train/loss"}:
            assert row[name] == other[name], name
    for at in (3, 7):
        assert rows[at].keys() >= {
            f"val/{n}" for n in OF_MEMORY | {"frame_dice_at_0.5", "frame_mae"}
        }

    subset, test = "test/unseen_easy", rows[STEPS]
    metrics = json.loads((cut / "metrics.json").read_text())
    for name, value in metrics["subsets"]["unseen_easy"].items():
        assert test[f"{subset}/{name}"] == pytest.approx(value, rel=1e-6)
    for name, value in metrics["clinical"]["subsets"]["unseen_easy"].items():
        if value is not None:
            assert test[f"{subset}/clinical/{name}"] == pytest.approx(value, rel=1e-6)
    for name, value in metrics["frame_metrics"]["subsets"]["unseen_easy"].items():
        assert test[f"{subset}/{name}"] == pytest.approx(value, rel=1e-6)
    (files,) = (
        p.parent / "files"
        for p in (cut / "wandb").glob(f"offline*/run-{run.run_id}.wandb")
        if list(p.parent.glob("files/media/videos/**/*.gif"))
    )
    media = [
        *test[f"{subset}/worst_frames/filenames"],
        *test[f"{subset}/overlays/filenames"],
        *test[f"{subset}/precision_recall/filenames"],
        test[f"{subset}/clips/path"],
        test[f"{subset}/precision_recall_table/path"],
        *(video["path"] for video in test[f"{subset}/clip/videos"]),
    ]
    assert len(media) == 1 + 1 + 1 + 1 + 1 + 1
    for path in media:
        assert (files / path).stat().st_size > 100, path
    table = json.loads((files / test[f"{subset}/clips/path"]).read_text())
    (row,) = (dict(zip(table["columns"], values, strict=True)) for values in table["data"])
    expected = metrics["clips"]["unseen_easy"][row["clip"]]
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    kinds = {artifact.type: artifact for artifact in second["artifacts"]}
    assert kinds["model"].name == f"model-{run.run_id}"
    assert len(kinds["maps"].manifest.contents) == 5

    # Every panel of the dashboard has something to show.
    sections = script("wandb_dashboard").workspace("team", "sali", ["unseen_easy"])._to_model().spec
    shown = keys_of(sections.model_dump(by_alias=True))
    logged = {key for row in rows for key in row}
    logged |= {key.rpartition("/")[0] for key in logged}  # pictures have keys below their own
    clinical = metrics["clinical"]["subsets"]["unseen_easy"]
    logged |= {f"{subset}/clinical/{name}" for name in clinical}
    assert len(shown) > 20 and shown <= logged

    board = EventAccumulator(str(cut / "tensorboard")).Reload().Tags()
    assert set(board["scalars"]) >= EVERY_STEP | {"val/frame_dice_at_0.5", f"{subset}/dice_max"}
    assert set(board["images"]) >= {f"{subset}/overlays", f"{subset}/precision_recall"}
    assert f"{subset}/clips/text_summary" in board["tensors"]
    assert {p.name for p in (cut / "csv").iterdir()} == {"version_0", "version_1"}


def test_artifacts_need_somewhere_to_go(data_root, tmp_path):
    from miniature import run

    from sali.errors import ConfigError

    with pytest.raises(ConfigError, match="add logger=wandb"):
        run(data_root, tmp_path, "callbacks.artifacts.log_model=true")
