"""Clips that are annotated in part: scored where there is a mask, and nowhere else."""

import csv

import numpy as np
import pytest
from made_trees import SHAPE, make_clips, run_evaluate, score
from PIL import Image

from sali.errors import ConfigError, DataError


@pytest.fixture
def trees(tmp_path):
    """A clip of six frames, of which the masks of frames 9 and 12 are missing."""
    gt, pred = make_clips(tmp_path / "set/GT", (6,)), make_clips(tmp_path / "pred", (6,), shift=2)
    for mask in sorted(gt.rglob("*.png")):
        frame = tmp_path / "set/Frame/case1_1" / mask.name
        frame.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*SHAPE, 3), 90, np.uint8)).save(frame)
    whole = score(tmp_path / "set", pred, tmp_path / "whole", protocol="clinical")
    for number in (9, 12):
        (gt / f"case1_1/image{number}.png").unlink()
    return tmp_path / "set", pred, whole


def rows_of(folder):
    with (folder / "frames.csv").open() as file:
        return list(csv.DictReader(file))


def test_frames_with_a_mask_have_the_same_scores_and_the_others_none(trees, tmp_path):
    gt, pred, _ = trees
    found = score(gt, pred, tmp_path / "out", protocol="clinical", sparse_masks=True)
    before, now = rows_of(tmp_path / "whole"), rows_of(tmp_path / "out")
    assert [row["frame"] for row in now] == [row["frame"] for row in before]
    for old, new in zip(before, now, strict=True):
        if new["frame"] in ("image9", "image12"):
            assert new["map"] == "unused" and not new["dice_at_0.5"] and not new["detected"]
        else:
            assert new == old
    annotated = [float(row["dice_at_0.5"]) for row in now if row["dice_at_0.5"]]
    assert len(annotated) == 4
    dice = found["clinical"]["subsets"]["all"]["dice_at_0.5"]
    assert dice == pytest.approx(np.mean(annotated))
    assert found["counts"]["all"]["unannotated"] == 2
    assert any("2 frames have no mask" in note for note in found["notes"]["all"])


def test_without_the_option_maps_without_a_mask_are_an_error_that_names_it(trees, tmp_path):
    gt, pred, _ = trees
    with pytest.raises(DataError, match="2 extra.*sparse_masks=true"):
        score(gt, pred, tmp_path / "out", protocol="clinical")


def test_vps_wants_every_mask(trees, tmp_path):
    gt, pred, _ = trees
    with pytest.raises(ConfigError, match="protocol=clinical"):
        score(gt, pred, tmp_path / "out", sparse_masks=True)
    done = run_evaluate(
        f"gt={gt}", f"pred={pred}", f"output={tmp_path / 'out'}", "sparse_masks=true"
    )
    assert done.returncode != 0 and "protocol=clinical" in done.stderr


def test_frames_must_be_there_to_know_which_are_not_annotated(trees, tmp_path):
    gt, pred, _ = trees
    with pytest.raises(DataError, match="frames=DIR"):
        score(gt / "GT", pred, tmp_path / "out", protocol="clinical", sparse_masks=True)
