"""Several processes on one machine (gloo, CPU): the same numbers as one, and a clean end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from miniature import ROOT, TORCHRUN, TWO, assert_same_end, overrides, start, status, wait_for
from test_train import MAP_STEP, score

from sali.evaluation import Settings, evaluate
from sali.run import processes

pytestmark = pytest.mark.slow
LIGHTNING = ("-m", "sali.train")
STEPS = 12
TRAINING = (
    *TWO,
    "data.batch_size=1",
    "trainer.limit_train_batches=3",
    "trainer.max_epochs=4",
    "backbone.drop_path_rate=0.2",  # every process draws from its own random state
    "callbacks.preemption.check_every_n_steps=1",
    "ckpt_path=auto",
)


def workers(launcher: int) -> dict[int, int]:
    """Process ids of a launcher's training processes by rank."""
    found = {}
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        settings = dict(
            line.split("=", 1)
            for line in Path(f"/proc/{child}/environ").read_text().split("\0")
            if "=" in line
        )
        command = Path(f"/proc/{child}/cmdline").read_text()
        if "LOCAL_RANK" in settings and "sali.train" in command:
            found[int(settings["LOCAL_RANK"])] = int(child)
    return found


@pytest.mark.parametrize(
    ("precision", "align", "tolerance"),
    [("64-true", "none", 1e-10), ("64-true", "grid_sample", 1e-10)],
)
def test_gradients_are_those_of_the_joint_batch(data_root, tmp_path, precision, align, tolerance):
    common = overrides(
        data_root,
        tmp_path,
        "trainer.limit_train_batches=2",
        "trainer.max_epochs=1",
        "+trainer.limit_val_batches=0",
        f"trainer.precision={precision}",
        f"align={align}",
        "optimizer.lr=1e-6",  # the second step must not start from rounding of the first, amplified
    )
    script = str(ROOT / "tests/frozen_norms.py")
    runs = {
        "one": ([script], ["data.batch_size=2"]),
        "two": ([*TORCHRUN[:-2], script], ["data.batch_size=1", *TWO]),
    }
    for name, (launcher, more) in runs.items():
        command = [sys.executable, *launcher, str(tmp_path / name), *common, *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / name) for name in runs)
    assert len(one) == len(two) == 2
    for joint, shared in zip(one, two, strict=True):
        assert joint.keys() == shared.keys()
        for name, gradient in joint.items():
            difference = (shared[name] - gradient).norm()
            assert difference <= tolerance * max(gradient.norm(), 1e-6), name


def test_one_folder_and_the_scores_of_one_process(data_for_two, tmp_path):
    more = [*TWO, "experiment=sun_seg", "save_maps=true"]
    torchrun = {"launcher": TORCHRUN, "cwd": tmp_path}
    assert start(data_for_two, None, *more, pictures=True, **torchrun).wait(600) == 0
    (output,) = (tmp_path / "outputs/sun_seg").iterdir()  # Hydra's choice, once
    assert sorted(p.name for p in (output / ".hydra").iterdir()) == [
        "config.yaml",
        "hydra.yaml",
        "overrides.yaml",
    ]
    metrics = json.loads((output / "metrics.json").read_text())
    for subset, means in metrics["frame_metrics"]["subsets"].items():
        alone = score(output / "checkpoints/best.ckpt", data_for_two, subset)
        assert alone == pytest.approx(means, abs=MAP_STEP)
        assert (output / f"figures/overlays_{subset}.jpg").is_file()
    later = evaluate(
        data_for_two,
        output / "maps",
        tmp_path / "scores",
        Settings(protocol="both", num_workers=1),
    )
    for part in ("subsets", "clips", "clinical", "frame_metrics", "counts"):
        assert later[part] == metrics[part], part


@pytest.fixture(scope="module")
def whole(data_for_two, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(data_for_two, folder, *TRAINING, launcher=TORCHRUN).wait(600) == 0
    return folder


def kill_second(process):
    os.kill(workers(process.pid)[1], signal.SIGKILL)


def ask_launcher(process):
    process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("launcher", "stop", "said"),
    [
        (TORCHRUN, kill_second, ""),
        (LIGHTNING, kill_second, ""),
        (TORCHRUN, ask_launcher, "stopped; resume with ckpt_path=auto"),
        (LIGHTNING, ask_launcher, "stopped; resume with ckpt_path=auto"),
    ],
    ids=["torchrun-killed", "lightning-killed", "torchrun-asked", "lightning-asked"],
)
def test_a_run_that_loses_a_process_ends_soon_and_resumes(
    data_for_two, tmp_path, whole, launcher, stop, said
):
    cut = tmp_path / "cut"
    process = start(data_for_two, cut, *TRAINING, launcher=launcher)
    wait_for((cut / "checkpoints/last.ckpt").exists)
    stop(process)
    began = time.time()
    assert process.wait(120) != 0
    assert wait_for(lambda: status(cut)["state"] == "failed", 10)
    assert time.time() - began < 60
    assert said in status(cut)["error"]
    assert not (cut / "metrics.json").exists()
    assert start(data_for_two, cut, *TRAINING, launcher=launcher).wait(600) == 0
    assert status(cut) == {"state": "finished", "error": None}
    assert_same_end(whole, cut, STEPS)


def test_the_folder_of_a_slurm_job_is_named_by_the_job(monkeypatch):
    for name, value in {"JOB_ID": "17", "STEP_ID": "0", "NTASKS": "4", "PROCID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr(processes, "started", processes.started.__wrapped__)
    assert processes.started() == "job_17_0"
    assert not processes.is_first()
    monkeypatch.setenv("SLURM_NTASKS", "1")  # an interactive shell: any number of runs
    assert processes.started().count("-") == 4
