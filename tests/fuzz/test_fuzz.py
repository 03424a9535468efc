"""A short run of `make fuzz`, and that it notices what it is there for."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fuzz.engine import KINDS, Kind, WrongError, fuzz, outcome
from sali.errors import DataError


def test_a_few_cases_of_every_kind_go_right():
    quick = [name for name in KINDS if name != "configs"]
    tallies = fuzz(quick, cases=10, seed=0)
    assert {name: tally.wrong for name, tally in tallies.items() if tally.wrong} == {}
    assert all(tally.tried == 10 for tally in tallies.values())


@pytest.mark.slow
def test_configurations_go_right():
    assert fuzz(["configs"], cases=5, seed=0)["configs"].wrong == []


def _two_lines():
    error = DataError("a")
    error.args = ("a\nb",)
    raise error


@pytest.mark.parametrize(
    ("deed", "what"),
    [
        (lambda: None, "accepted"),
        (lambda: Path("inside").touch(), "accepted"),
        (lambda: (_ for _ in ()).throw(DataError("no")), "refused"),
        (_two_lines, "wrong"),
        (lambda: [][0], "wrong"),
        (lambda: (_ for _ in ()).throw(WrongError("other")), "wrong"),
        (lambda: Path(os.devnull).open("w").close(), "accepted"),
        (lambda: Path("../outside").write_text(""), "wrong"),
        (lambda: subprocess.run([sys.executable, "-c", ""]), "wrong"),
    ],
)
def test_the_engine_tells_right_from_wrong(tmp_path, monkeypatch, deed, what):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    kind = Kind(lambda folder: lambda rng: deed())
    got, _ = outcome(kind, kind.prepare(home), np.random.default_rng(0), home)
    assert got == what
