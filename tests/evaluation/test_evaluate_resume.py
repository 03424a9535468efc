"""An interrupted evaluation goes on, with the same result; changed files are scored again."""

import os
import subprocess
import sys

import cv2
import pytest
from made_trees import contents, make_clips, save, score

import sali.evaluation.scoring as scoring
from sali.errors import DataError
from sali.metrics.vps import frame_scores


@pytest.fixture
def trees(tmp_path):
    lengths = (4, 5, 6)
    return make_clips(tmp_path / "gt", lengths), make_clips(tmp_path / "pred", lengths, shift=2)


@pytest.fixture
def counted(monkeypatch):
    """Number of frames scored; `stop_at` interrupts before that one."""
    state = {"frames": 0, "stop_at": None}

    def count(*arguments):
        if state["frames"] == state["stop_at"]:
            raise KeyboardInterrupt
        state["frames"] += 1
        return frame_scores(*arguments)

    monkeypatch.setattr(scoring, "frame_scores", count)
    return state


def test_interrupted_evaluation_goes_on(trees, tmp_path, counted):
    score(*trees, tmp_path / "whole", protocol="both")
    assert counted["frames"] == 2 + 3 + 4
    counted.update(frames=0, stop_at=6)
    with pytest.raises(KeyboardInterrupt):
        score(*trees, tmp_path / "out", protocol="both")
    assert not (tmp_path / "out/metrics.json").exists()
    counted.update(frames=0, stop_at=None)
    score(*trees, tmp_path / "out", protocol="both")
    assert counted["frames"] == 4, "two clips were finished"
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("change", ["map", "mask", "setting"])
def test_what_changed_meanwhile_is_scored_again(trees, tmp_path, counted, change):
    counted["stop_at"] = 6
    with pytest.raises(KeyboardInterrupt):
        score(*trees, tmp_path / "out")
    counted.update(frames=0, stop_at=None)
    settings = {}
    if change == "setting":
        settings["protocol"] = "both"
    else:
        path = trees[change == "map"] / "case1_1/image9.png"
        other = trees[change == "map"] / "case3_1/image11.png"
        save(path, cv2.imread(str(other), cv2.IMREAD_GRAYSCALE))
        os.utime(path, ns=(1, 1))
    found = score(*trees, tmp_path / "out", **settings)
    assert counted["frames"] == (9 if change == "setting" else 2 + 4)
    assert found == score(*trees, tmp_path / "fresh", **settings)


def test_a_failed_evaluation_keeps_what_was_finished(trees, tmp_path, counted):
    broken = trees[1] / "case3_1/image9.png"
    whole = broken.read_bytes()
    content = bytearray(whole)
    content[60:64] = b"\0\0\0\0"
    broken.write_bytes(content)
    with pytest.raises(ValueError, match=r"image9\.png cannot be read"):
        score(*trees, tmp_path / "out")
    broken.write_bytes(whole)
    counted["frames"] = 0
    score(*trees, tmp_path / "out")
    assert counted["frames"] == 4
    assert not (tmp_path / "out/.partial").exists()


def test_a_report_of_problems_does_not_outlive_them(trees, tmp_path):
    (trees[1] / "overlays").mkdir()
    with pytest.raises(DataError, match="1 extra"):
        score(*trees, tmp_path / "out")
    assert (tmp_path / "out/integrity.txt").exists()
    (trees[1] / "overlays").rmdir()
    score(*trees, tmp_path / "out")
    assert not (tmp_path / "out/integrity.txt").exists()


def test_worker_processes_do_without_pytorch():
    code = "import sali.evaluate, sali.evaluation.scoring, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
