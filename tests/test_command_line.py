"""What the commands answer in another folder, and how little they import for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from sali.config import config_dir


@pytest.mark.parametrize(
    "command",
    [
        *("sali.train", "sali.predict", "sali.evaluate"),
        pytest.param("benchmarks", marks=pytest.mark.slow),
    ],
)
def test_help_and_resolved_config_from_another_folder(command, tmp_path):
    required = {
        "sali.predict": ["ckpt=a", "source=b", "output=c"],
        "sali.evaluate": ["gt=a", "pred=b", "output=c"],
    }.get(command, [])
    for flags in (["--help"], ["--cfg", "job", "--resolve", *required]):
        done = subprocess.run(
            [sys.executable, "-m", command, *flags],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        assert done.returncode == 0, done.stderr
        assert "output" in done.stdout
        if flags == ["--help"]:
            assert "Research software, not a medical device." in done.stdout
            if command == "sali.predict":
                lines = (Path(config_dir()) / "predict.yaml").read_text().splitlines()
                comments = {line for line in lines if line.startswith("#")}
                assert comments and comments <= set(done.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sali.train", "--help"], "experiment=seen_easy"),
        (["sali.predict", "--help"], "source: ???"),
        (["sali.predict", "ckpt=x.ckpt", "source=/missing", "output=o"], "/missing"),
        (["sali.predict", "ckpt=x.ckpt", "source=.", "output=o"], "x.ckpt"),
        (["sali.predict", "ckpt=x.ckpt", "source=.", "output=o", "+thresold=1"], "threshold"),
    ],
)
def test_an_answer_needs_no_heavy_library(arguments, said, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    times, answer = [], [done.stdout]
    for line in done.stderr.splitlines():
        (times if line.startswith("import time:") else answer).append(line)
    assert said in "\n".join(answer)
    imported = {line.split("|")[-1].strip() for line in times}
    heavy = {"torch", "lightning", "timm", "av", "matplotlib", "albumentations", "scipy", "wandb"}
    assert "hydra" in imported and not heavy & imported
