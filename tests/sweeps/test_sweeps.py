"""Sweeps: what runs, what is skipped, what fails, and what the tables say."""

import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from miniature import wait_for

from sali.config import check_config, config_dir
from sali.sweeps.job import MAX_NAME, job_name

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYTHONPATH = os.pathsep.join([str(ROOT), str(HERE)])
SWEEPS = sorted(p.stem for p in (ROOT / "configs/sweep").glob("*.yaml"))


def needs(plugin):
    installed = find_spec("hydra_plugins") and find_spec(f"hydra_plugins.{plugin}")
    return pytest.mark.skipif(not installed, reason=f"{plugin} is missing; extra `sweeps`")


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys):
    """Run a sweep of stub jobs in this process; returns (exit message or None, its output)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.syspath_prepend(str(HERE))
    from stub_train import main

    def run(*overrides):
        monkeypatch.setattr(sys, "argv", ["stub_train", "-m", *overrides, "data.root=data"])
        message = None
        try:
            main()
        except SystemExit as stopped:
            message = stopped.code
        return message, capsys.readouterr().out

    return run


def runs(folder):
    """How often each job of a folder ran."""
    return {p.parent.name: len(p.read_text().split()) for p in folder.glob("*/runs.txt")}


def rows(folder):
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_jobs_run_once_and_their_scores_are_averaged_over_seeds(sweep, tmp_path):
    command = ["optimizer.lr=0.1,0.2", "seed=1,2", "name=lr"]
    assert sweep(*command)[0] is None
    folder = tmp_path / "outputs/sweeps/lr"
    names = [f"optimizer.lr-{lr}__seed-{seed}" for lr in (0.1, 0.2) for seed in (1, 2)]
    assert runs(folder) == dict.fromkeys(names, 1)

    message, output = sweep("optimizer.lr=0.1,0.2", "seed=1,2,3", "name=lr")
    assert message is None and output.count("finished before") == 4
    assert "started (3 of 6);" in output and "started (6 of 6);" in output
    assert f"settings: {folder / 'sweep.md'}" in output
    more = [f"optimizer.lr-{lr}__seed-3" for lr in (0.1, 0.2)]
    assert runs(folder) == dict.fromkeys([*names, *more], 1)

    (row,) = [r for r in rows(folder) if (r["setting"], r["score"]) == ("optimizer.lr=0.2", "mae")]
    values = [1 - (0.5 + 0.2 + seed / 100) for seed in (1, 2, 3)]
    assert float(row["mean"]) == pytest.approx(statistics.mean(values))
    assert float(row["std"]) == pytest.approx(statistics.stdev(values))
    assert (row["num_seeds"], row["seeds"], row["subset"]) == ("3", "1 2 3", "seen_easy")
    held_out = [r for r in rows(folder) if r["subset"] == "validation"]
    assert [float(r["mean"]) for r in held_out] == pytest.approx([0.52, 0.62])

    text = (folder / "sweep.md").read_text()
    # 33 clips, as seen_easy of SUN-SEG has: the paper's row stands below ours, in percent.
    assert "| SALI | MICCAI 2024 | PVTv2-B5 | dice_max | 92.7 | 89.1 | 82.5 | 82.2 |" in text
    ours = "| **optimizer.lr=0.2 (here)** | - | - | dice_max | **72.0 ± 1.0** | - | - | - |"
    assert ours in text
    latex = (folder / "sweep.tex").read_text()
    assert r"seen\_easy & optimizer.lr=0.2 & 3 & \textbf{0.7200 $\pm$ 0.0100}" in latex
    assert (folder / "figures/dice_max.pdf").is_file()


def test_a_failed_job_is_told_and_runs_again_and_the_others_go_on(sweep, tmp_path):
    ways = "null,broken.ckpt,killed.ckpt,refused.ckpt"
    message, output = sweep(f"init_ckpt={ways}", "seed=1", "name=failing")
    folder = tmp_path / "outputs/sweeps/failing"
    assert message.startswith("error: 3 of the sweep's jobs failed")
    for place in ("1 of 4", "2 of 4", "3 of 4", "4 of 4"):
        assert f"started ({place});" in output
    for way, error in (
        ("broken", "ValueError: broken"),
        ("killed", "killed by signal 9"),
        ("refused", "a key is unknown"),
    ):
        name = f"init_ckpt-{way}.ckpt__seed-1"
        assert f"{name}: {error}\n    {folder / name / 'output.log'}" in message
        assert f"{name}: FAILED: {error}" in output
        assert json.loads((folder / name / "status.json").read_text())["state"] == "failed"
    assert [r["setting"] for r in rows(folder)] == ["as configured"] * 4

    Path("mended").touch()
    message, _ = sweep("init_ckpt=null,broken.ckpt", "seed=1", "name=failing")
    assert message is None  # what an earlier command failed at is not this one's failure
    assert runs(folder)["init_ckpt-broken.ckpt__seed-1"] == 2
    assert runs(folder)["init_ckpt-null__seed-1"] == 1


def test_results_of_other_settings_are_not_overwritten(sweep, tmp_path):
    assert sweep("seed=1", "name=same", "weight_decay=0.1")[0] is None
    message, _ = sweep("seed=1", "name=same", "weight_decay=0.2")
    assert "holds a finished job of other settings" in message
    assert "weight_decay=0.1" in message and "weight_decay=0.2" in message
    assert runs(tmp_path / "outputs/sweeps/same") == {"seed-1": 1}


def test_an_edited_file_is_another_setting(sweep, tmp_path):
    extra = tmp_path / "extra/ablation"
    extra.mkdir(parents=True)
    (extra / "mine.yaml").write_text("# @package _global_\nweight_decay: 0.1\n")
    command = ["--config-dir", str(extra.parent), "ablation=mine", "seed=1", "name=edited"]
    assert sweep(*command)[0] is None
    (extra / "mine.yaml").write_text("# @package _global_\nweight_decay: 0.2\n")
    assert "weight_decay was 0.1, is 0.2" in sweep(*command)[0]


def test_jobs_of_one_sweep_are_in_one_folder_whatever_their_name(sweep, tmp_path):
    assert sweep("experiment=seen_easy,unseen_easy", "seed=1")[0] is None
    (folder,) = (tmp_path / "outputs/sweeps").iterdir()
    assert set(runs(folder)) == {"experiment-seen_easy__seed-1", "experiment-unseen_easy__seed-1"}


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_second_process_in_a_folder(tmp_path, request):
    hold = tmp_path / "hold-2"  # seed=2 runs for as long as this is there
    hold.touch()
    request.addfinalizer(lambda: hold.unlink(missing_ok=True))
    command = [sys.executable, "-m", "stub_train", "-m", "data.root=data", "name=cut", "seed=1,2,3"]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}

    def start(way):
        return subprocess.Popen(
            [*command, f"init_ckpt={way}"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    folder = tmp_path / "outputs/sweeps/cut"
    first = start("slow.ckpt")
    wait_for(lambda: len(runs(folder)) == 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert runs(folder) == {"seed-1": 1, "seed-2": 1}

    # seed=2 outlived its sweep: it is left alone, and what is missing runs.
    second = start("slow.ckpt")
    output = second.communicate(timeout=120)[0]
    assert second.returncode == 1, output
    assert "seed-1: finished before" in output and "seed-2: FAILED: it is still running" in output
    assert runs(folder) == {"seed-1": 1, "seed-2": 1, "seed-3": 1}

    hold.unlink()
    wait_for(lambda: '"finished"' in (folder / "seed-2/status.json").read_text())
    third = start("slow.ckpt")
    output = third.communicate(timeout=120)[0]
    assert third.returncode == 0, output
    assert output.count("finished before") == 3


def test_names_of_folders():
    assert job_name("ablation-full__seed-1") == "ablation-full__seed-1"
    assert job_name("") == "default-e3b0c442"
    assert job_name("data.root-/a/b") != job_name("data.root--a-b")
    assert len(job_name("x" * 300)) == MAX_NAME
    assert job_name("x" * 300) != job_name("x" * 301)


@pytest.mark.parametrize("name", SWEEPS)
def test_shipped_sweeps_name_what_exists(name):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        try:
            cfg = compose("train", overrides=[f"sweep={name}"], return_hydra_config=True)
        except MissingConfigException as error:
            pytest.skip(f"{error.missing_cfg_file} comes with the extra `sweeps`")
    assert cfg.hydra.mode == RunMode.MULTIRUN and cfg.name == name
    for key, values in cfg.hydra.sweeper.params.items():
        for value in [] if "(" in str(values) else str(values).split(","):
            with initialize_config_dir(config_dir(), version_base="1.3"):
                chosen = ["paths.output_dir=out", f"sweep={name}", f"{key}={value}"]
                check_config(compose("train", overrides=chosen), "train")


def test_a_shipped_sweep_needs_no_flag(sweep, tmp_path, monkeypatch):
    from stub_train import main

    monkeypatch.setattr(
        sys, "argv", ["stub_train", "data.root=data", "sweep=modules", "seed=1", "ablation=full"]
    )
    main()
    assert runs(tmp_path / "outputs/sweeps/modules") == {"ablation-full__seed-1": 1}


def test_report_of_a_folder(sweep, tmp_path):
    sweep("seed=1,2", "name=again")
    folder = tmp_path / "outputs/sweeps/again"
    before = (folder / "sweep.md").read_text()
    (folder / "sweep.md").unlink()
    shutil.rmtree(folder / "figures")

    def report(path):
        return subprocess.run(
            [sys.executable, "-m", "sali.report", f"run={path}"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
        )

    assert report(folder).returncode == 0
    assert (folder / "report.html").is_file()
    assert (folder / "sweep.md").read_text() == before
    assert (folder / "figures/dice_max.png").is_file()
    absent = report(tmp_path / "absent")
    assert absent.returncode == 1 and absent.stderr.startswith("error: ")


@needs("hydra_optuna_sweeper")
def test_optuna_gets_the_best_score_and_repeats_its_trials(sweep, tmp_path):
    command = ["sweep=learning_rate", "hydra.sweeper.n_trials=4", "seed=1"]
    command += ["backbone_lr_ratio=choice(0.1,0.3)"]
    assert sweep(*command)[0] is None
    folder = tmp_path / "outputs/sweeps/learning_rate"
    before = runs(folder)
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    rates = [json.loads(p.read_text())["overrides"] for p in folder.glob("*/job.json")]
    rates = [float(o.split("=")[1]) for job in rates for o in job if o.startswith("optimizer.lr=")]
    assert len(rates) == 4
    assert best["best_params"]["optimizer.lr"] == pytest.approx(max(rates))
    assert best["best_value"] == pytest.approx(0.4 + max(rates) + 0.01)
    assert sweep(*command)[0] is None
    assert runs(folder) == before

    message, output = sweep(*command, "init_ckpt=choice(fine.ckpt,broken.ckpt)", "name=failing")
    num_failed = output.count("FAILED")
    assert 0 < num_failed < 4
    assert message.startswith(f"error: {num_failed} of the sweep's jobs failed")


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("joblib", marks=needs("hydra_joblib_launcher")),
        pytest.param("submitit_local", marks=needs("hydra_submitit_launcher")),
        pytest.param("ray", marks=needs("hydra_ray_launcher")),
    ],
)
def test_launchers(launcher, tmp_path):
    def start(ways):
        what = ["data.root=data", "name=launched", "seed=1,2", f"init_ckpt={ways}"]
        return subprocess.run(
            [sys.executable, "-m", "stub_train", "-m", *what, f"hydra/launcher={launcher}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            capture_output=True,
            text=True,
            timeout=600,
        )

    done = start("null,broken.ckpt")
    folder = tmp_path / "outputs/sweeps/launched"
    assert done.returncode == 1
    assert "error: 2 of the sweep's jobs failed" in done.stderr
    assert "init_ckpt-broken.ckpt__seed-2: ValueError: broken" in done.stderr
    assert len(runs(folder)) == 4 and len(rows(folder)) == 4

    (tmp_path / "mended").touch()
    done = start("null,broken.ckpt")
    assert done.returncode == 0, done.stderr
    assert sorted(runs(folder).values()) == [1, 1, 2, 2]
