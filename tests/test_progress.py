"""The progress bar as a person sees it, in a terminal; and that nobody else sees it."""

import re
import subprocess
import sys

import pytest
import terminal
from miniature import ROOT, overrides

SCRIPT = """
import logging, sys, time, warnings
from sali.run.progress import progress_bar

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
with progress_bar("frames") as progress:
    known = progress.add_task("predict", total=8)
    live = progress.add_task("camera", total=None)
    for i in range(8):
        time.sleep(0.12)
        progress.advance(known)
        progress.advance(live, 2)
        if i == 2:
            logging.info("a line [of the log] " + "long " * 40)
        if i == 4:
            warnings.warn("a warning")
        if i == 6:
            print("printed")
logging.info("the end")
"""


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
    found = re.fullmatch(r"predict ━+ +8/8 frames +([\d.]+)/s +0:00:0\d 0:00:00", line)
    assert found and float(found[1]) <= 8.4  # eight naps of 0.12 s
    assert "3/8 frames" in written  # it was there on the way


def test_without_a_total_there_is_no_bar_and_no_time_to_go(written):
    (line,) = [line for line in terminal.screen(written) if line.startswith("camera")]
    assert re.fullmatch(r"camera +16 frames +[\d.]+/s +0:00:0\d", line)


def test_what_is_logged_warned_and_printed_stands_whole_above_the_bar(written):
    lines = terminal.screen(written)
    bar = next(i for i, line in enumerate(lines) if line.startswith("predict"))
    above = "\n".join(lines[:bar])
    told = "a line [of the log] " + "long " * 40
    assert "".join(lines[:2]).replace(" ", "") == told.replace(" ", "")
    assert "UserWarning: a warning" in above and "\nprinted" in above
    assert lines[bar + 2 :] == ["the end", ""]


def test_where_nobody_watches_there_are_the_log_lines_only(environment):
    done = subprocess.run(python("-c", SCRIPT), capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["a line [of the log] " + "long " * 40, "printed", "the end"]
    assert "a warning" in done.stderr and "frames" not in done.stderr


def test_what_goes_to_a_file_stays_there(environment, tmp_path):
    script = f"{sys.executable} -c '{SCRIPT}' > {tmp_path / 'told.txt'}"
    shown = "\n".join(terminal.screen(terminal.run(["bash", "-c", script], environment)))
    assert "8/8 frames" in shown and "a warning" in shown and "the end" not in shown
    assert "the end" in (tmp_path / "told.txt").read_text()


def test_whole_clips_have_a_rate_too(environment):
    """Advances that are far apart, on a clock of the test's own."""
    from sali.run.progress import progress_bar

    clock = [0.0]
    progress = progress_bar("frames")
    progress.get_time = lambda: clock[0]
    bar = progress.add_task("scoring", total=1000)
    for _ in range(3):
        clock[0] += 120
        progress.advance(bar, 60)
    rate = progress.columns[3].render(progress.tasks[0])
    assert rate.plain == "2.0 s each"
    assert progress.tasks[0].time_remaining == pytest.approx(820 * 2)


TRAINED = ("trainer.limit_train_batches=2", "backbone.weights=null", "test_checkpoint=last")


def training(data_root, folder):
    """The command of a training of two epochs, with its bar."""
    left_out = ("paths.output_dir", "callbacks.progress", "+trainer.enable_progress_bar")
    given = [a for a in overrides(data_root, "") if not a.startswith(left_out)]
    more = (*TRAINED, "callbacks.progress.note_every=1", f"hydra.run.dir={folder}")
    return python("-m", "sali.train", *given, *more)


@pytest.mark.slow
def test_a_training_shows_steps_loss_and_held_out_dice(data_root, tmp_path, environment):
    written = terminal.run(training(data_root, tmp_path / "run"), environment)
    lines = terminal.screen(written)
    shown = "\n".join(lines)
    assert re.search(r"validation.*/\d+ frames", written)
    assert not any(line.startswith("validation") for line in lines)  # gone when it was over
    figures = r"train/loss \d+\.\d{4}, val/dice_at_0.5 0\.\d{4}"
    assert re.search(rf"epoch 2 of 2 ━+ 4/4 steps .*(/s|s each) .* {figures}", shown)
    assert re.search(rf"^epoch 1 of 2, step 2: {figures}$", shown, re.MULTILINE)
    assert re.search(r"^test ━+ \d+/\d+ frames", shown, re.MULTILINE)
    assert f"results: {tmp_path / 'run'}" in shown.replace("\n", "")


@pytest.mark.slow
def test_a_training_that_nobody_watches_tells_its_epochs_only(data_root, tmp_path, environment):
    command = training(data_root, tmp_path / "run")
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "epoch 2 of 2, step 4: train/loss" in done.stdout
    assert "━" not in done.stdout + done.stderr and "\r" not in done.stdout + done.stderr
