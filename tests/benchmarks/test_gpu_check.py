"""The check of a GPU, reduced and on the CPU: the same code, so that it runs where it is needed."""

import json
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from benchmarks import gpu_parts
from benchmarks.gpu_check import CONFIG, check_gpu, markdown
from sali.config import command_file
from sali.errors import ConfigError

REDUCED = [
    "device=cpu",
    "backbone=pvt_v2_b0",
    "image_size=256",
    "frame_height=90",
    "frame_width=110",
    "num_frames=2",
    "memory.max_frames=2",
    "read={positions: 100, frames: 3, top_k: 20, rounds: 1, tolerance: 1e-3, share: 1e-2}",
    "alignment.side=12",
    "training.steps=1",
    "training.options.backbone=pvt_v2_b0",
    "training.options.batch_size=1",
    "stream.frames=1",
    "speed={backbones: [pvt_v2_b0], rounds: 1, warmup: 0}",
    "bundle.frames=1",
]


def composed(*overrides):
    file = command_file(CONFIG)
    with initialize_config_dir(str(file.parent), version_base="1.3"):
        return compose(file.stem, overrides=[*REDUCED, *overrides])


def results_of(*overrides):
    results = check_gpu(composed(*overrides))
    return results, {row["check"]: row for row in results["rows"]}


def test_parts_agree_on_the_cpu_and_what_needs_a_gpu_is_skipped():
    results, rows = results_of("checks=[parts,read,alignment]")
    assert not [row for row in rows.values() if row["result"] == "failed"]
    skipped = {name for name, row in rows.items() if row["result"] == "skipped"}
    assert skipped == {"part: alignment, tf32", "part: fusion, tf32"}
    assert rows["part: alignment, bf16"]["figures"]["difference"] > 0
    assert len(markdown(results).splitlines()) == len(rows) + 6
    json.dumps(results)


def test_a_failing_check_is_one_row_and_the_rest_goes_on(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: no kernel image\nmore lines")

    monkeypatch.setattr(gpu_parts, "deform_conv", broken)
    _, rows = results_of("checks=[alignment,read]", "read.tolerance=-1")
    assert rows["alignment against the CPU, auto, 32"]["result"] == "failed"
    assert rows["alignment against the CPU, auto, 32"]["reason"] == (
        "RuntimeError: CUDA error: no kernel image"
    )
    assert "wanted at most" in rows["memory read against the CPU, 32"]["reason"]
    assert rows["memory read against the CPU, 32"]["figures"]["ms"] > 0


def test_refusals():
    with pytest.raises(ConfigError, match="checks: got all, wanted some of parts"):
        check_gpu(composed("checks=[all]"))
    with pytest.raises(ConfigError, match="precisions: got fp8, wanted some of 32"):
        check_gpu(composed("precisions=[fp8]"))


@pytest.mark.slow
def test_the_other_checks_and_the_command(tmp_path):
    overrides = [*REDUCED, f"output={tmp_path}", "checks=[stream,training,processes,speed,bundle]"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", *overrides], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "gpu_check.json").read_text())["rows"]
    assert len(rows) == 3 + 3 + 1 + 3 + 1
    assert {row["result"] for row in rows} == {"ok", "skipped"}
    assert (tmp_path / "gpu_check.md").read_text().startswith("# Check of a device")
