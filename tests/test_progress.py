"""The progress bar as a person sees it, in a terminal; and that nobody else sees it."""

import re
import subprocess
import sys
from unittest.mock import Mock

import pytest
import terminal
from miniature import ROOT, overrides

from sali.callbacks import TrainingProgress
from sali.run.progress import progress_bar

SCRIPT = """
import logging, sys, time
from sali.run.progress import LogHandler, progress_bar

before = sys.stdout, sys.stderr
logging.basicConfig(handlers=[LogHandler(sys.stdout)], level=logging.INFO, format="%(message)s")
with progress_bar("frames") as progress:
    known = progress.add_task("predict", total=8)
    live = progress.add_task("camera", total=None)
    for i in range(8):
        time.sleep(0.12)
        progress.advance(known)
        progress.advance(live, 2)
        if i == 2:
            logging.info("a line [of the log] " + "long " * 40)
        assert (sys.stdout, sys.stderr) == before
logging.info("the end")
"""
LOGGED = ["a line [of the log] " + "long " * 40, "the end"]


def python(*arguments):
    return [sys.executable, *arguments]


@pytest.fixture(scope="module")
def environment():
    return {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def written(environment):
    return terminal.run(python("-c", SCRIPT), environment)


def test_a_bar_has_count_rate_and_times(written):
    (line,) = [line for line in terminal.screen(written) if line.startswith("predict")]
    found = re.search(r"8/8 +frames +([\d.]+)/s +0:00:\d\d 0:00:00", line)
    assert found and float(found[1]) <= 8.4  # eight naps of 0.12 s
    assert "3/8" in written  # it was there on the way


def test_without_a_total_there_is_no_time_left(written):
    (line,) = [line for line in terminal.screen(written) if line.startswith("camera")]
    assert re.search(r"16/\? +frames +[\d.]+/s +0:00:\d\d$", line)


def test_log_lines_are_whole_above_the_bar(written):
    lines = terminal.screen(written)
    bar = next(i for i, line in enumerate(lines) if line.startswith("predict"))
    above = "".join(lines[:bar])
    assert above.replace(" ", "") == LOGGED[0].replace(" ", "")
    assert lines[bar + 2 :] == ["the end", ""]


def test_where_nobody_watches_there_are_log_lines_only(environment):
    done = subprocess.run(python("-c", SCRIPT), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == LOGGED and done.stderr == ""


def test_what_goes_to_a_file_stays_there(environment, tmp_path):
    script = f"'{sys.executable}' -c '{SCRIPT}' > '{tmp_path / 'log.txt'}'"
    shown = "\n".join(terminal.screen(terminal.run(["bash", "-c", script], environment)))
    assert re.search("8/8 +frames", shown) and "the end" not in shown
    assert (tmp_path / "log.txt").read_text().splitlines() == LOGGED


def test_whole_clips_have_a_rate_too():
    """Advances that are far apart, on a clock of the test's own."""
    clock = [0.0]
    progress = progress_bar("frames")
    progress.get_time = lambda: clock[0]
    bar = progress.add_task("scoring", total=1000)
    for _ in range(3):
        clock[0] += 120
        progress.advance(bar, 60)
    (rate,) = [c for c in progress.columns if type(c).__name__ == "RateColumn"]
    assert rate.render(progress.tasks[0]).plain == "2.0 s each"
    assert progress.tasks[0].time_remaining == pytest.approx(820 * 2)


def test_a_long_epoch_is_logged_before_its_end(monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr("sali.callbacks.training.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(TrainingProgress, "get_metrics", lambda *_: {"train/loss": 0.25})
    trainer = Mock(is_global_zero=True, current_epoch=0, max_epochs=3, global_step=7)
    progress = TrainingProgress(update_every_n_steps=1, log_every_n_minutes=5)
    with caplog.at_level("INFO"):
        for number, seconds in enumerate((0, 299, 2, 298)):
            clock[0] += seconds
            if number == 0:
                progress.on_train_epoch_start(trainer, None)
            progress.on_train_batch_end(trainer, None, None, None, number)
    assert caplog.messages == ["epoch 1 of 3, step 7: train/loss 0.2500"]


TRAINED = ("trainer.limit_train_batches=2", "backbone.weights=null", "test_checkpoint=last")


def training(data_root, folder):
    """The command of a training of two epochs, with its bar."""
    left_out = ("paths.output_dir", "callbacks.progress", "+trainer.enable_progress_bar")
    given = [a for a in overrides(data_root, "") if not a.startswith(left_out)]
    more = (*TRAINED, "callbacks.progress.update_every_n_steps=1", f"hydra.run.dir={folder}")
    return python("-m", "sali.train", *given, *more)


@pytest.mark.slow
def test_a_training_shows_steps_loss_and_held_out_dice(data_root, tmp_path, environment):
    written = terminal.run(training(data_root, tmp_path / "run"), environment)
    shown = "\n".join(terminal.screen(written))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "Validation" in plain
    numbers = r"train/loss \d+\.\d{4}, val/frame_dice_at_0.5 0\.\d{4}"
    assert re.search(rf"^epoch 1 of 2, step 2: {numbers}", shown, re.MULTILINE)
    assert re.search(r"epoch 2 of 2 ━+ 2/2 ", plain)
    assert re.search(r"train/loss: \d+\.\d{4}", plain)
    assert f"results: {tmp_path / 'run'}" in shown.replace("\n", "")


@pytest.mark.slow
def test_a_training_that_nobody_watches_tells_its_epochs_only(data_root, tmp_path, environment):
    command = training(data_root, tmp_path / "run")
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "epoch 2 of 2, step 4: train/loss" in done.stdout
    assert "━" not in done.stdout + done.stderr and "\r" not in done.stdout + done.stderr
    for advert in ("LeafSpec", "litlogger", "Tip:"):
        assert advert not in done.stdout + done.stderr
