"""A sweep of real trainings, each of two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sali.data.synthetic import SyntheticSpec, generate

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    "backbone=efficientnet_lite0",
    "backbone.weights=null",
    "trainer=cpu",
    "trainer.devices=2",
    "trainer.strategy=ddp",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=1",
    "data.image_size=256",
    "data.batch_size=1",
    "data.num_workers=0",
    "data.pin_memory=false",
    "callbacks.progress=null",
    "callbacks.show_test=null",
    "report.figures=false",
]


@pytest.mark.slow
def test_a_failing_job_of_two_processes_does_not_stop_the_next(tmp_path):
    spec = SyntheticSpec(
        train_clips=4,
        test_clips_per_subset=2,
        frames_per_clip=5,
        height=96,
        width=120,
        polyp_free_clips=0,
        seed=0,
    )
    root = generate(tmp_path / "data", spec)
    folder = tmp_path / "sweep"

    def start():
        # The first fails in the middle of `fit`, when both processes are there.
        what = ["ablation=single_frame,full", "optimizer.lr=1e30,0.001", "seed=1"]
        where = [f"data.root={root}", f"hydra.sweep.dir={folder}"]
        return subprocess.run(
            [sys.executable, "-m", "sali.train", "-m", *SMALL, *what, *where],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=1500,
        )

    done = start()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error: 2 of the sweep's jobs failed" in done.stderr
    assert "ablation-full__optimizer.lr-1e-30__seed-1" in done.stderr
    assert "not finite" in done.stderr
    assert len([p for p in folder.iterdir() if p.is_dir() and p.name != "figures"]) == 4
    states = {p.parent.name: json.loads(p.read_text()) for p in folder.glob("*/status.json")}
    assert {name.rpartition("__")[0]: s["state"] for name, s in states.items()} == {
        "ablation-full__optimizer.lr-1e-30": "failed",
        "ablation-full__optimizer.lr-0.001": "finished",
        "ablation-single_frame__optimizer.lr-1e-30": "failed",
        "ablation-single_frame__optimizer.lr-0.001": "finished",
    }
    best = folder / "ablation-full__optimizer.lr-0.001__seed-1/checkpoints/best.ckpt"
    written = best.stat().st_mtime_ns

    again = start()
    assert again.returncode == 1
    assert again.stdout.count("finished before, best score") == 2
    assert best.stat().st_mtime_ns == written
    table = (folder / "sweep.md").read_text()
    assert "ablation=single_frame" in table and "ablation=full" in table
