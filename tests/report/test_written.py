"""Pages that runs write by themselves: evaluations, trainings, sweeps; and what they keep."""

import base64
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from miniature import ROOT, run
from pages import Page, options, write_json

from sali.evaluation import Settings, run_evaluation
from sali.report.folder import clip_score
from sali.report.frames import choose, write_film
from sali.report.page import report_evaluation, write_report, write_sweep

RULES = {"max_frames": 4, "height": 48, "quality": 90, "tolerance": 0.5}


def area(outlines, size):
    """Pixels inside outlines [[x, y, x, y ...], ...], their edges included."""
    drawn = np.zeros(size, np.uint8)
    cv2.fillPoly(drawn, [np.reshape(points, (-1, 2)) for points in outlines], 1)
    return drawn.sum()


def picture_of(frame):
    code = np.frombuffer(base64.b64decode(frame["picture"]), np.uint8)
    return cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]


def test_a_film_holds_evenly_thinned_pictures_and_outlines_of_their_size(tmp_path):
    truth = np.zeros((96, 128), bool)
    truth[20:60, 40:80] = True
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[..., 0] = 200
    read = frame, truth, {"m": np.zeros_like(truth)}
    write_film(tmp_path / "film.json", 10, lambda index: read, **RULES)
    written = json.loads((tmp_path / "film.json").read_text())
    assert (written["width"], written["height"], written["every"]) == (64, 48, 3)
    assert [one["index"] for one in written["frames"]] == [0, 3, 6, 9]
    one = written["frames"][1]
    assert one["predictions"] == {"m": []}
    assert area(one["truth"], (48, 64)) == 20 * 20  # half the height and width
    assert picture_of(one).shape == (48, 64, 3)
    np.testing.assert_allclose(picture_of(one).mean((0, 1)), [200, 0, 0], atol=4)


def test_a_film_says_which_frames_nobody_annotated(tmp_path):
    nothing = np.zeros((96, 128), bool)
    seen = [(None, truth, {"m": nothing}) for truth in (None, nothing)]
    write_film(tmp_path / "film.json", 2, seen.__getitem__, **RULES)
    frames = json.loads((tmp_path / "film.json").read_text())["frames"]
    assert [one["truth"] for one in frames] == [None, []]


def test_the_choice_is_the_worst_the_middle_and_the_best():
    scores = dict(zip("abcdefg", (0.7, 0.1, 0.5, 0.9, 0.3, 0.4, 0.2), strict=True))
    assert choose(scores, 2, 1, 1) == ["b", "g", "f", "d"]
    assert choose(scores, 9, 9, 9) == sorted(scores, key=scores.__getitem__)
    assert choose(scores, 0, 0, 0) == []


def test_clips_without_a_polyp_are_ranked_by_their_false_alarms():
    rows = [{"dice": "0.5", "false_positive": ""}, {"dice": "", "false_positive": "1"}]
    assert clip_score(rows, "dice") == 0.5
    free = [{"dice": "", "false_positive": value} for value in ("1", "0", "0", "0")]
    assert clip_score(free, "dice") == 0.75
    assert clip_score([{"dice": "", "false_positive": "0"}], "dice") == 1


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Frames of even grey and masks of discs, in the layout of SUN-SEG."""
    root = tmp_path_factory.mktemp("clips")
    rows, columns = np.ogrid[:96, :120]
    for clip in range(3):
        for frame in range(5):
            disc = np.hypot(rows - 40 - 4 * frame, columns - 60) < 14 + 4 * clip
            for kind, image in (("GT", disc * 255), ("Frame", disc * 90 + 60)):
                path = root / f"TestEasyDataset/Seen/{kind}/case{clip}_1/image{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image.astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def maps(clips, tmp_path_factory):
    """Maps that miss the polyp by two pixels, and by six."""
    root = tmp_path_factory.mktemp("maps")
    masks = clips / "TestEasyDataset/Seen/GT"
    for name, shift in (("near", 2), ("far", 6)):
        for path in masks.glob("*/*.png"):
            target = root / name / "TestEasyDataset/Seen" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(target), np.roll(mask, shift, 1))
    return root


def scored(clips, pred, output, *overrides, **more):
    settings = Settings(num_workers=1, subsets=("seen_easy",), **more)
    done = run_evaluation(clips, pred, output, settings)
    report_evaluation(done, options("report.figures=false", *overrides))


@pytest.mark.parametrize("protocol", ["vps", "both"])
def test_an_evaluation_shows_its_frames(clips, maps, tmp_path, protocol):
    scored(clips, maps / "near", tmp_path, protocol=protocol)
    page = Page(tmp_path)
    assert len(page.clips) == 3
    metric = {"vps": "dice_max", "both": "dice_at_0.5"}[protocol]
    for clip in page.clips:
        assert clip["metric"] == metric and clip["methods"] == ["near"]
        with (tmp_path / "frames.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["clip"] == clip["clip"]]
        written = [round(float(r[metric]), 4) if r[metric] else None for r in rows]
        assert clip["dice"]["near"] == written
        size = clip["film"]["height"], clip["film"]["width"]
        for frame, row in zip(clip["film"]["frames"], rows, strict=True):
            name = row["frame"]
            path = clips / f"TestEasyDataset/Seen/GT/{clip['clip']}/{name}.png"
            share = np.mean(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 128)
            outlined = area(frame["truth"], size) / np.prod(size)
            assert outlined == pytest.approx(share, rel=0.05, abs=0.002)
            assert len(frame["predictions"]["near"]) >= len(frame["truth"]) >= (share > 0)
    assert ("a different number than Dice at 0.5" in page.text) == (protocol == "vps")


def test_several_methods_share_their_pictures(clips, maps, tmp_path):
    small = ("report.clips.worst=1", "report.clips.median=0", "report.clips.best=0")
    scored(clips, maps, tmp_path, *small, protocol="both")
    page = Page(tmp_path)
    assert "Differences between methods" in page.tables
    shown = [clip for clip in page.clips if clip["film"]]
    assert shown == page.clips[:1]  # the lowest mean of both
    assert set(shown[0]["film"]["frames"][0]["predictions"]) == {"far", "near"}
    assert "1 of 3 clips have pictures" in page.text


def test_without_frames_masks_are_shown_on_grey(clips, maps, tmp_path):
    masks, pred = clips / "TestEasyDataset/Seen/GT", maps / "near/TestEasyDataset/Seen"
    done = run_evaluation(masks, pred, tmp_path, Settings(num_workers=1))
    report_evaluation(done, options("report.figures=false"))
    frames = [frame for clip in Page(tmp_path).clips for frame in clip["film"]["frames"]]
    assert frames and all(frame["picture"] is None for frame in frames)
    assert any(frame["truth"] for frame in frames)


@pytest.mark.slow
def test_the_command_makes_the_page_again(clips, maps, tmp_path):
    scored(clips, maps / "near", tmp_path, protocol="both")
    first = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").unlink()
    command = [sys.executable, "-m", "sali.report", f"run={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = (tmp_path / "report.html").read_text()
    assert again.partition("Made by SALI on")[0] == first.partition("Made by SALI on")[0]
    command[-1] = f"run={tmp_path / 'nowhere'}"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ")


def write_job(folder: Path, number, setting, seed, dice, error=None):
    state = "failed" if error else "finished"
    overrides = [f"optimizer.lr={setting}", f"seed={seed}"]
    write_json(folder / "job.json", {"number": number, "overrides": overrides, "error": error})
    write_json(folder / "status.json", {"state": state, "error": error})
    if not error:
        scores = {"dice_max": dice, "mae": 0.1}
        clips = {f"case{i}_1": scores for i in range(33)}
        content = {"subsets": {"seen_easy": scores}, "clips": {"seen_easy": clips}}
        content |= {"method": "sali", "counts": {"seen_easy": {"clips": 33}}}
        write_json(folder / "metrics.json", {"best": {"val/frame_dice_at_0.5": dice}, **content})


def test_a_sweep_shows_its_settings_and_what_failed(tmp_path):
    write_json(tmp_path / "sweep.json", {"id": "x", "command": "python -m sali.train -m"})
    for number, (lr, seed) in enumerate([(0.1, 1), (0.1, 2), (0.2, 1)]):
        write_job(tmp_path / f"job{number}", number, lr, seed, 0.5 + lr + seed / 100)
    write_job(tmp_path / "job3", 3, 0.2, 2, 0, error="ValueError: <b>broken</b>")
    write_sweep(tmp_path)
    page = Page(tmp_path)
    assert '<p class="kind">Sweep</p>' in (tmp_path / "report.html").read_text()
    header, *rows = page.tables["Scores by setting"]
    found = {(row[0], row[1]): dict(zip(header, row, strict=True)) for row in rows}
    assert found["seen_easy", "optimizer.lr=0.1"]["dice_max"] == "0.6150 ± 0.0071"
    assert found["seen_easy", "optimizer.lr=0.2"]["dice_max"] == "0.7100"
    assert found["validation", "optimizer.lr=0.2"]["frame_dice_at_0.5"] == "0.7100"
    ours = page.tables["dice_max, percent: ours (bold) and published values"][1]
    assert ours[0] == "optimizer.lr=0.1 (here)" and ours[4] == "61.5 ± 0.7"
    assert "1 of the jobs did not finish" in page.text
    assert "job3: ValueError: <b>broken</b>" in page.text
    assert [row[0] for row in page.tables["Jobs"][1:]] == [f"job{i}" for i in range(4)]
    for number in range(3):
        write_json(tmp_path / f"job{number}/status.json", {"state": "running", "error": None})
    assert "Scores by setting" not in Page(tmp_path).tables


@pytest.mark.slow
def test_a_training_keeps_what_an_evaluation_of_its_maps_would_say(data_for_two, tmp_path):
    small = ("report.clips.worst=1", "report.clips.median=0", "report.clips.best=1")
    more = (
        "data.test_subsets=[seen_easy,unseen_hard]",
        "save_maps=true",
        "report.film.max_frames=3",
    )
    run(data_for_two, tmp_path, *small, *more, pictures=True)
    results = tmp_path / "results"
    subsets = ("seen_easy", "unseen_hard")
    settings = Settings(num_workers=1, protocol="both", subsets=subsets)
    done = run_evaluation(data_for_two, tmp_path / "maps", results, settings)

    def rows(folder):
        with (folder / "frames.csv").open() as file:
            return list(csv.DictReader(file))

    ours, theirs = rows(tmp_path), rows(results)
    assert [{name: row[name] for name in ours[0]} for row in theirs] == ours
    with np.load(tmp_path / "curves.npz") as one, np.load(results / "curves.npz") as other:
        assert set(other) == set(one)
        for name in one:
            np.testing.assert_allclose(one[name], other[name], atol=1e-12, err_msg=name)

    page = Page(tmp_path, *small)
    assert len(page.clips) == 6 and "finished" in page.text
    for subset in subsets:
        own = [clip for clip in page.clips if clip["subset"] == subset]
        assert [bool(clip["film"]) for clip in own] == [True, False, True]
        assert [frame["index"] for frame in own[0]["film"]["frames"]] == [0, 2, 4]
    report_evaluation(done, options("report.figures=false", *small, *more[2:]))
    for path in (results / "report/clips").glob("*/*.json"):
        mine = json.loads((tmp_path / path.relative_to(results)).read_text())
        for one, other in zip(mine["frames"], json.loads(path.read_text())["frames"], strict=True):
            assert one["picture"] == other["picture"] and one["truth"] == other["truth"]
            assert one["predictions"]["train"] == other["predictions"]["maps"]
    shutil.rmtree(tmp_path / "report")
    write_report(tmp_path, options())
    assert "No clip has pictures" in (tmp_path / "report.html").read_text()
