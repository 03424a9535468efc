"""Runs of frames named in a table are scored on their own, as those that are found would be."""

import csv

import numpy as np
import pytest
from made_trees import disk, make_clips, run_evaluate, save, score

from sali.data.clip_tables import read_runs, write_runs
from sali.errors import ConfigError, DataError

RUNS = {"case1_1": [("image9", "image11", "covered")], "case2_1": [("image8", "image8", "dark")]}


@pytest.fixture
def trees(tmp_path):
    gt, pred = make_clips(tmp_path / "gt", (7, 5)), make_clips(tmp_path / "pred", (7, 5), shift=2)
    for frame in (9, 10):  # worse inside the run
        save(pred / f"case1_1/image{frame}.png", disk(2, 2, 3))
    return gt, pred


def test_scores_inside_the_runs_are_those_of_their_frames(trees, tmp_path):
    table = tmp_path / "a folder that does not exist yet" / "runs.csv"
    write_runs(table, RUNS)
    assert read_runs(table) == RUNS
    content = score(*trees, tmp_path / "out", protocol="both", runs=read_runs(table))
    with (tmp_path / "out/frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    inside = [row for row in rows if row["low_quality"] == "1"]
    assert [(row["clip"], row["frame"]) for row in inside] == [
        *(("case1_1", f"image{n}") for n in (9, 10, 11)),
        ("case2_1", "image8"),
    ]
    assert {row["broken_limits"] for row in inside} == {"covered", "dark"}
    low = content["low_quality"]["all"]
    dice = [float(row["dice_at_0.5"]) for row in inside]
    by_clip = [np.mean(dice[:3]), np.mean(dice[3:])]
    assert low["dice_at_0.5"] == pytest.approx(np.mean(by_clip))
    assert low["dice_at_0.5"] < content["clinical"]["subsets"]["all"]["dice_at_0.5"]
    with (tmp_path / "out/runs.csv").open() as file:
        again = [(r["clip"], r["first"], r["last"]) for r in csv.DictReader(file)]
    assert again == [("case1_1", "image9", "image11"), ("case2_1", "image8", "image8")]


@pytest.mark.parametrize(
    "runs", [{"case7_1": [("image8", "image8", "x")]}, {"case1_1": [("image8", "image99", "x")]}]
)
def test_runs_of_what_is_not_scored_are_refused(trees, tmp_path, runs):
    with pytest.raises(DataError, match="case7_1|image99"):
        score(*trees, tmp_path / "out", runs=runs)


def test_named_and_found_runs_exclude_each_other(trees, tmp_path):
    with pytest.raises(ConfigError, match="quality"):
        score(*trees, tmp_path / "out", runs=RUNS, quality=True)


def test_the_command_reads_a_table_and_refuses_one_without_its_columns(trees, tmp_path):
    (tmp_path / "runs.csv").write_text("clip,start\ncase1_1,3\n")
    gt, pred = trees
    done = run_evaluate(
        f"gt={gt}", f"pred={pred}", f"output={tmp_path / 'out'}", f"runs={tmp_path / 'runs.csv'}"
    )
    assert done.returncode != 0 and "first" in done.stderr
