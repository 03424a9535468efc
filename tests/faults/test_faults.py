"""That `make faults` notices what it is there for, and two of its cases."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from faults.engine import way_of
from faults.kinds import halves
from faults.processes import ROOT
from faults.ways import FURTHER, WAYS


def test_what_is_half_is_noticed(tmp_path):
    whole, other = tmp_path / "whole", tmp_path / "other"
    for folder in (whole, other):
        (folder / "clip").mkdir(parents=True)
        for name in ("a.png", "b.png"):
            Image.new("L", (64, 64)).save(folder / "clip" / name)
        (folder / "run.json").write_text("{}")
        (folder / "frames.csv").write_text("a,b\n1,2\n")
    assert halves(other, whole) == []
    (other / ".run.json.1.partial").write_text("{")  # nobody reads it
    assert halves(other, whole) == []
    (other / "run.json").write_text('{"a"')
    (other / "frames.csv").write_text("a,b\n1")
    (other / "clip/a.png").write_bytes((other / "clip/a.png").read_bytes()[:50])
    (other / "clip/b.png").unlink()
    found = halves(other, whole)
    assert [line.split()[0] for line in found] == ["clip/a.png", "frames.csv", "run.json", "clip"]
    assert "1 of 2 maps" in found[-1]


def test_a_case_is_known_by_its_name():
    assert [way_of(str(number))[0] for number in range(4)] == [*WAYS, "kill"]
    assert [way_of(name)[0] for name in FURTHER] == [*FURTHER]


@pytest.mark.slow
def test_a_few_cases_survive():
    done = subprocess.run(
        [sys.executable, "-m", "faults", "predict", "--only", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
