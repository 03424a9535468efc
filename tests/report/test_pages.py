"""What the page of a run says, and that nothing in a folder can do more than be shown."""

import json
import logging
import re
import shutil

import pytest
from pages import (
    Page,
    dice_of,
    make_run,
    metrics,
    options,
    write_films,
    write_frames,
    write_json,
    write_log,
)

from sali.errors import DataError
from sali.report.page import reported, write_report

HOSTILE = "<script>alert(1)</script>'\"&--><!--"


def test_a_page_says_what_was_run_and_how_it_did(tmp_path):
    page = Page(make_run(tmp_path))
    for text in (
        "0123456789ab",
        "case8_1",
        "/data, fingerprint f00",
        "name=mine optimizer.lr=0.1",
        "Best val/frame_dice_at_0.5 0.6250",
        "not a medical device",
        "never evaluated for patient care",
        "Training and test",
    ):
        assert text in page.text
    written = json.loads((tmp_path / "metrics.json").read_text())
    header, row = page.tables["VPS protocol"]
    assert dict(zip(header, row, strict=True)) == {
        "subset": "seen_easy",
        "method": "prediction",
        "clips": "3",
        **{name: f"{value:.4f}" for name, value in written["subsets"]["seen_easy"].items()},
    }
    header, row = page.tables["Clinical protocol"]
    value = written["clinical"]["subsets"]["seen_easy"]["dice_at_0.5"]
    assert dict(zip(header, row, strict=True))["dice_at_0.5"] == f"{value:.4f}"
    assert dict(zip(header, row, strict=True))["ece"] == "-"
    titles = ("Training loss", "Held-out scores", "Dice over threshold", "Calibration")
    assert all(title in page.text for title in titles)


def test_clips_are_listed_from_the_worst_with_their_own_figures(tmp_path):
    page = Page(make_run(tmp_path))
    (table,) = [rows for caption, rows in page.tables.items() if caption.startswith("3 clips")]
    header, *rows = table
    found = [dict(zip(header, row, strict=True)) for row in rows]
    written = json.loads((tmp_path / "metrics.json").read_text())["clinical"]["clips"]["seen_easy"]
    worst_first = sorted(written, key=lambda name: written[name]["dice_at_0.5"])
    assert [row["clip"] for row in found] == worst_first == [c["clip"] for c in page.clips]
    for row in found:
        assert row["dice_at_0.5"] == f"{written[row['clip']]['dice_at_0.5']:.4f}"
    assert found[0]["clip"] == "case1_1" and found[0]["bad frames"] == "8"
    assert found[0]["lowest frame"] == f"{dice_of(0, 4):.4f}"


def test_the_player_is_told_every_frame(tmp_path):
    page = Page(make_run(tmp_path))
    clip = page.clip("case1_1")
    assert clip["dice"]["prediction"] == [dice_of(0, f) for f in range(20)]
    assert clip["frames"][3] == "image003" and clip["marked"]["prediction"][3] == 93
    assert clip["runs"] == [
        {"kind": "dice", "start": 4, "stop": 12, "text": "dice_at_0.5 below 0.5"}
    ]
    film = tmp_path / "report/clips/seen_easy/case1_1.json"
    assert clip["film"] == json.loads(film.read_text())
    other = page.clip("case2_1")
    assert other["dice"]["prediction"][-1] is None and other["polyp"][-1] == 0
    assert other["runs"] == [
        {"kind": "quality", "start": 2, "stop": 5, "text": "low-quality frames"}
    ]
    assert Page(tmp_path, "report.bad_dice=0.05").clip("case1_1")["runs"] == []
    assert Page(tmp_path, "report.min_run=9").clip("case1_1")["runs"] == []


def test_hostile_names_are_only_shown(tmp_path):
    name = HOSTILE.replace("/", "")  # of a folder
    make_run(tmp_path, clips=(name, "case2_1"))
    error = f"ValueError: {HOSTILE}"
    write_json(tmp_path / "status.json", {"state": "failed", "error": error})
    (tmp_path / ".hydra/config.yaml").write_text(json.dumps({"name": HOSTILE}))
    page = Page(tmp_path)
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert [s.get("type") for s in scripts].count(None) == 1  # the page's own
    assert len(scripts) == 1 + len(page.clips)
    assert error in page.text
    assert page.clip(name)["film"]["num_frames"] == 20
    link = next(a["href"] for tag, a in page.tags if tag == "a" and "alert" in a.get("href", ""))
    assert re.fullmatch(r"#clip=seen_easy/[\w.%()~-]+", link)
    assert "<script>alert" not in page.source


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = Page(make_run(tmp_path))
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img", "object", "base")
        for name in ("src", "href", "style", "onclick"):
            assert name not in attributes or (name, attributes[name][:1]) == ("href", "#")


def test_the_budget_is_kept_and_told(tmp_path):
    make_run(tmp_path)
    sizes = [p.stat().st_size for p in sorted(tmp_path.glob("report/clips/*/*.json"))]
    page = Page(tmp_path, f"report.max_megabytes={(sizes[0] + 1) / 1e6}")
    shown = [clip["clip"] for clip in page.clips if clip["film"]]
    assert shown == ["case1_1"]  # the worst
    assert "1 of 3 clips have pictures" in page.text
    assert "2 clips that were kept are not shown in pictures" in page.text
    empty = Page(tmp_path, "report.max_megabytes=0")
    assert not any(clip["film"] for clip in empty.clips)
    assert all(clip["dice"]["prediction"] for clip in empty.clips)
    assert len(empty.source) < len(page.source)


def test_thinning_is_told(tmp_path):
    make_run(tmp_path)
    shutil.rmtree(tmp_path / "report")
    write_films(tmp_path, ["case1_1"], every=3)
    page = Page(tmp_path)
    assert [f["index"] for f in page.clip("case1_1")["film"]["frames"]] == list(range(0, 20, 3))
    assert len(page.clip("case1_1")["dice"]["prediction"]) == 20
    assert "1 of these clips are thinned: 7 of 20 frames" in page.text
    assert "1 frame in 3" in page.text


def test_what_is_missing_is_told(tmp_path):
    make_run(tmp_path)
    shutil.rmtree(tmp_path / "report")
    shutil.rmtree(tmp_path / "csv")
    for name in ("frames.csv", "curves.npz"):
        (tmp_path / name).unlink()
    page = Page(tmp_path)
    for text in ("no csv/version_", "no curves.npz", "no frames.csv", "No clip has pictures"):
        assert text in page.text
    assert {clip["clip"] for clip in page.clips} == {"case1_1", "case2_1", "case3_1"}


def test_of_a_failed_run_nothing_of_an_earlier_test_is_shown(tmp_path):
    make_run(tmp_path)
    write_json(tmp_path / "status.json", {"state": "failed", "error": "KeyError: why"})
    (tmp_path / "metrics.json").unlink()
    page = Page(tmp_path)
    assert "failed" in page.text and "KeyError: why" in page.text
    assert page.clips == [] and "VPS protocol" not in page.tables
    assert "Training loss" in page.text and "nothing of a test is shown" in page.text


def test_the_same_folder_gives_the_same_page(tmp_path):
    make_run(tmp_path)

    def undated():
        text, number = re.subn(r"Made by SALI on [^.]+\.", "", Page(tmp_path).source)
        assert number == 1
        return text

    assert undated() == undated()


def test_a_resumed_training_is_one_curve(tmp_path):
    make_run(tmp_path)
    write_log(tmp_path, 1, range(8, 16), lambda step: 100 + step)
    rows = Page(tmp_path).tables["Training loss, values"][1:]
    loss = {int(step): float(value) for step, value in rows}
    assert loss == {s: pytest.approx(2 - 0.1 * s) if s < 8 else 100 + s for s in range(16)}


def test_long_curves_are_averaged_and_values_that_are_none_told(tmp_path):
    make_run(tmp_path)
    shutil.rmtree(tmp_path / "csv")
    write_log(tmp_path, 0, range(30), lambda step: "nan" if step == 3 else step)
    page = Page(tmp_path, "report.max_points=10")
    assert "train/loss: 1 logged values are not finite" in page.text
    assert "train/loss: a point is the mean of 3 logged steps" in page.text
    assert page.tables["Training loss, values"][1:3] == [
        ["1", "1"],
        ["5", "5"],
    ]  # of 0, 1, 2 and of 4, 5, 6


@pytest.mark.parametrize(("number", "is_beside"), [(33, True), (32, False)])
def test_published_rows_are_shown_with_data_that_fits_only(tmp_path, number, is_beside):
    clips = [f"case{i}_1" for i in range(number)]
    write_json(tmp_path / "metrics.json", metrics(clips))
    page = Page(tmp_path)
    found = {c: rows for c, rows in page.tables.items() if "published values" in c}
    assert bool(found) == is_beside
    if is_beside:
        rows = found["dice_max, percent: ours (bold) and published values"]
        assert [
            "prediction (here)",
            "-",
            "-",
            "dice_max",
            "81.2",
            "-",
            "-",
            "-",
            "this folder",
        ] in rows
        sali = ["SALI", "MICCAI 2024", "PVTv2-B5", "dice_max", "92.7", "89.1", "82.5", "82.2"]
        assert [*sali, "SALI table 1"] in rows
        assert "variants of Dice must not be compared" in page.text
    else:
        assert "other data than SUN-SEG" in page.text


def test_methods_are_side_by_side(tmp_path):
    clips = ("case1_1", "case2_1")
    interval = {"difference": 0.1, "low": 0.02, "high": 0.2}
    one = {"subset": "seen_easy", "method": "A", "reference": "B", "clips": 2}
    joint = {
        "protocol": "both",
        "methods": {name: metrics(clips, method=name) for name in "AB"},
        "differences": [{**one, "intervals": {"dice_max": interval}}],
        "bootstrap": {"confidence": 0.95},
    }
    write_json(tmp_path / "metrics.json", joint)
    for index, name in enumerate("AB"):
        write_frames(tmp_path / name / "frames.csv", clips, method=index)
    write_films(tmp_path, clips, methods=("A", "B"))
    page = Page(tmp_path)
    assert '<p class="kind">Evaluation</p>' in (tmp_path / "report.html").read_text()
    assert page.tables["Differences between methods"][1][:4] == ["seen_easy", "A", "B", "2"]
    assert page.tables["Differences between methods"][1][4] == "+0.1000 [+0.0200, +0.2000] *"
    clip = page.clip("case2_1")
    assert clip["methods"] == ["A", "B"]
    assert clip["dice"]["A"][3] == dice_of(1, 3) and clip["dice"]["B"][3] == dice_of(1, 3, 1)
    assert set(clip["film"]["frames"][0]["predictions"]) == {"A", "B"}


def test_an_error_of_the_page_is_a_warning_with_the_way_out(tmp_path, caplog):
    make_run(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with caplog.at_level(logging.WARNING), reported(tmp_path, options()):
        pass
    assert f"python -m sali.report run={tmp_path}" in caplog.text
    assert "metrics.json cannot be read" in caplog.text
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(KeyError), reported(tmp_path, options()):
        raise KeyError("of the run itself")


def test_a_report_that_is_not_wanted_is_not_written(tmp_path):
    make_run(tmp_path)
    with reported(tmp_path, options("report.enabled=false")):
        pass
    assert not (tmp_path / "report.html").exists()


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds none of metrics\.json"):
        write_report(tmp_path, options())
