"""Several methods at once: one table, the best marked, intervals over clips."""

import json

import numpy as np
import pytest
from made_trees import GOLDEN, SUBSET, make_clips, read_csv, score

from sali.errors import ConfigError, DataError
from sali.evaluation import Bootstrap
from sali.metrics.bootstrap import paired_bootstrap
from sali.metrics.vps import METRIC_NAMES

LENGTHS = (5, 4, 6)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("methods")
    make_clips(root / "gt", LENGTHS)
    for name, shift in (("near", 1), ("far", 4), ("further", 6)):
        make_clips(root / "methods" / name, LENGTHS, shift=shift)
    return root / "gt", root / "methods"


@pytest.fixture(scope="module")
def result(trees, tmp_path_factory):
    output = tmp_path_factory.mktemp("several")
    settings = {"protocol": "both", "bootstrap": Bootstrap(num_resamples=200)}
    return output, score(*trees, output, **settings)


def test_each_method_is_scored_as_on_its_own(trees, result, tmp_path):
    output, joint = result
    assert list(joint["methods"]) == ["far", "further", "near"]
    for name in joint["methods"]:
        alone = score(trees[0], trees[1] / name, tmp_path / name, protocol="both")
        assert joint["methods"][name] == alone
        for file in ("metrics.json", "clips.csv", "frames.csv"):
            assert (output / name / file).read_bytes() == (tmp_path / name / file).read_bytes()
    assert json.loads((output / "metrics.json").read_text()) == joint


def test_the_best_is_marked_by_its_direction(result):
    output, joint = result
    lines = (output / "table.md").read_text().splitlines()
    header = next(one for one in lines if one.startswith("| subset | method | clips | dice_max"))
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    rows = {
        cells[1]: dict(zip(columns, cells, strict=True))
        for one in lines[lines.index(header) + 2 : lines.index(header) + 5]
        if (cells := [cell.strip() for cell in one.strip("|").split("|")])
    }
    for name in METRIC_NAMES:
        values = {m: joint["methods"][m]["subsets"]["all"][name] for m in rows}
        best = (min if name == "mae" else max)(values.values())
        for method, value in values.items():
            assert rows[method][name].startswith("**") == (value == best), (method, name)


def test_intervals_are_those_of_the_clips(trees, result):
    output, joint = result
    found = {one["method"]: one for one in joint["differences"]}
    assert set(found) == {"far", "further"}, "against the best, which is near"
    assert {one["reference"] for one in found.values()} == {"near"}
    far = found["far"]
    assert far["clips"] == len(LENGTHS)
    assert set(METRIC_NAMES) < set(far["intervals"])
    assert "frame_sensitivity" in far["intervals"]
    assert "frame_specificity" not in far["intervals"], "there are no polyp-free frames"
    sides = {
        name: np.asarray([[c["mae"]] for c in joint["methods"][name]["clips"]["all"].values()])
        for name in ("far", "near")
    }
    (mae,) = paired_bootstrap(
        sides["far"],
        sides["near"],
        Bootstrap(num_resamples=200),
        lambda means: {"mae": means[:, 0]},
    ).values()
    assert tuple(far["intervals"]["mae"].values()) == pytest.approx(tuple(mae), abs=1e-12)
    dice = far["intervals"]["dice_at_0.5"]
    clinical = {n: joint["methods"][n]["clinical"]["subsets"]["all"] for n in ("far", "near")}
    expected = clinical["far"]["dice_at_0.5"] - clinical["near"]["dice_at_0.5"]
    assert dice["difference"] == pytest.approx(expected, abs=1e-12)
    assert dice["low"] <= dice["difference"] <= dice["high"] < 0
    assert "| all | far | near | 3 |" in (output / "table.md").read_text()


def test_a_reference_can_be_named(trees, tmp_path):
    quick = {"bootstrap": Bootstrap(num_resamples=20)}
    joint = score(*trees, tmp_path / "out", reference="far", **quick)
    assert [(d["method"], d["reference"]) for d in joint["differences"]] == [
        ("further", "far"),
        ("near", "far"),
    ]
    with pytest.raises(ConfigError, match="reference 'best' is not one of far, further, near"):
        score(*trees, tmp_path / "out", reference="best")


def test_a_folder_among_the_methods_that_is_none(trees, tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "near").symlink_to(trees[1] / "near")
    (mixed / "figures").mkdir()
    with pytest.raises(DataError, match=r"folder of methods \(near\) and holds 1 extra: figures"):
        score(trees[0], mixed, tmp_path / "out")


def test_a_method_without_one_of_the_clips(trees, tmp_path):
    methods = tmp_path / "methods"
    make_clips(methods / "a", LENGTHS, shift=1)
    make_clips(methods / "b", LENGTHS[:2], shift=1)
    with pytest.raises(DataError, match=r"maps of b: 4 missing \(.*case3_1 is not there, 4 maps\)"):
        score(trees[0], methods, tmp_path / "out")


def test_sun_seg_trees_may_hold_other_subsets_but_nothing_else(tmp_path):
    tree = tmp_path / "maps"
    (tree / "TestEasyDataset/Seen/case9_1").mkdir(parents=True)
    (tree / "TestEasyDataset/Unseen").symlink_to(GOLDEN / "predictions" / SUBSET)
    found = score(GOLDEN / "SUN-SEG", tree, tmp_path / "out")
    assert list(found["subsets"]) == ["unseen_easy"]
    (tree / "TestEasyDataset/Overlays").mkdir()
    (tree / "overlays").mkdir()
    with pytest.raises(DataError, match=r"2 extra \(.*maps/overlays, .*Dataset/Overlays\)"):
        score(GOLDEN / "SUN-SEG", tree, tmp_path / "out")
    (tree / "unseen_easy").mkdir()
    with pytest.raises(DataError, match=r"maps of unseen_easy are both in .*Unseen and in .*_easy"):
        score(GOLDEN / "SUN-SEG", tree, tmp_path / "out")


def test_attributes(trees, tmp_path):
    flags = tmp_path / "flags.csv"
    flags.write_text("clip,SI,SO\ncase1_1,1,0\ncase2_1,1,1\ncase3_1,0,0\ncase9_1,1,1\n")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("clip,attribute\ncase1_1,SI\ncase2_1,SI\ncase2_1,SO\ncase3_1,\n")
    for file in (flags, pairs):
        found = score(trees[0], trees[1] / "far", tmp_path / file.stem, attributes=file)
        rows = read_csv(tmp_path / file.stem / "attributes.csv")
        assert [(r["attribute"], r["clips"]) for r in rows] == [
            ("(none)", "1"),
            ("SI", "2"),
            ("SO", "1"),
        ]
        clips = found["clips"]["all"]
        expected = np.mean([clips["case1_1"]["mae"], clips["case2_1"]["mae"]])
        assert float(rows[1]["mae"]) == pytest.approx(expected)
        assert float(rows[2]["dice_max"]) == clips["case2_1"]["dice_max"]
        assert "| all | SI | far | 2 |" in (tmp_path / file.stem / "attributes.md").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got the header ''"),
        ("name,SI\ncase1_1,1\n", "got the header 'name,SI', wanted 'clip,attribute'"),
        ("clip,SI\ncase1_1,yes\n", "row 2: got 'yes', wanted 0 or 1"),
        ("clip,SI\ncase1_1\n", "row 2: got 1 cells, wanted 2"),
        ("clip,SI\ncase1_1,1\ncase1_1,0\n", "row 3: case1_1 has a row already"),
        ("clip,SI\ncase1_1,1\ncase2_1,0\n", "no row for 1 clips, e.g. case3_1"),
    ],
)
def test_attribute_files_that_do_not_fit(trees, tmp_path, text, message):
    file = tmp_path / "attributes.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        score(trees[0], trees[1] / "far", tmp_path / "out", attributes=file)
    assert not (tmp_path / "out/metrics.json").exists()  # before anything is scored
