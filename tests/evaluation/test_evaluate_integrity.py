"""The line that users see for each kind of bad input; nothing is dropped in silence."""

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from made_trees import SHAPE, disk, make_clips, read_csv, run_evaluate, save, score
from PIL import Image

from sali.config import config_dir
from sali.errors import ConfigError, DataError, FrameError, UserError
from sali.evaluate import settings_from

MAP = "case1_1/image9.png"


@pytest.fixture
def trees(tmp_path):
    return make_clips(tmp_path / "gt"), make_clips(tmp_path / "pred", shift=1)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[60:64] = b"\0\0\0\0"
    path.write_bytes(content)


def write_colour(path):
    save(path, np.dstack([disk(3, 3, 4), disk(9, 9, 4), disk(12, 12, 4)]))


def write_rgba(path):
    Image.new("RGBA", SHAPE[::-1]).save(path)


BROKEN = {
    "cut short": truncate,
    "16-bit": lambda path: save(path, disk(9, 9, 4).astype(np.uint16) * 257),
    "in colour": write_colour,
    "alpha channel": write_rgba,
    "empty file": lambda path: path.write_bytes(b""),
    "not a PNG file": lambda path: path.write_bytes(b"GIF89a not really"),
}


@pytest.mark.parametrize("where", ["gt", "pred"])
@pytest.mark.parametrize("message", BROKEN)
def test_unreadable_files_stop_before_scoring(trees, tmp_path, where, message):
    BROKEN[message](tmp_path / where / MAP)
    with pytest.raises(DataError, match=message) as caught:
        score(*trees, tmp_path / "out", missing="zero")
    line = str(caught.value)
    assert "\n" not in line
    assert "1 unreadable" in line and f"{where}/{MAP}" in line
    (report,) = (tmp_path / "out").iterdir()
    assert report.name == "integrity.txt" and message in report.read_text()


def test_damage_inside_a_file_stops_the_scoring(trees, tmp_path):
    corrupt(tmp_path / "pred" / MAP)
    with pytest.raises(FrameError, match=r"pred/case1_1/image9.png cannot be read"):
        score(*trees, tmp_path / "out")
    assert not (tmp_path / "out/metrics.json").exists()


def test_masks_and_maps_of_0_and_1(trees, tmp_path):
    gt, pred = trees
    image = cv2.imread(str(gt / "case1_1/image10.png"), cv2.IMREAD_GRAYSCALE)
    save(gt / "case1_1/image10.png", image // 255)
    with pytest.raises(DataError, match=r"no value above 1, wanted 0 and 255 .*stored as 0/1"):
        score(gt, pred, tmp_path / "out")
    save(gt / "case1_1/image10.png", image)
    # Off the middle of the clip it is noticed while scoring.
    save(gt / MAP, image // 255)
    with pytest.raises(FrameError, match=r"image9.png has no value above 1"):
        score(gt, pred, tmp_path / "out")
    save(gt / MAP, image)
    for path in pred.rglob("*.png"):
        save(path, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 128)
    with pytest.raises(DataError, match="pred hold only the values 0 and 1, wanted probability"):
        score(gt, pred, tmp_path / "out")


@pytest.mark.parametrize("kind", ["RGB", "P"])
def test_grey_stored_with_colours_is_the_same_grey(trees, tmp_path, kind):
    plain = score(*trees, tmp_path / "plain")
    for tree in trees:
        for path in tree.rglob("*.png"):
            Image.open(path).convert(kind).save(path)
    assert score(*trees, tmp_path / "again") == plain


def test_extra_and_misnamed_maps_are_errors_whatever_missing_says(trees, tmp_path):
    gt, pred = trees
    make_clips(pred, (3,), shift=1, first=7)
    (pred / "overlays").mkdir()
    (pred / "case2_1/notes.txt").write_text("hello")
    (pred / MAP).rename(pred / "case1_1/image9.jpg")
    (pred / ".DS_Store").write_text("")
    for missing in ("error", "zero", "skip"):
        with pytest.raises(DataError) as caught:
            score(gt, pred, tmp_path / "out", missing=missing)
        line = str(caught.value)
        assert "3 extra (" in line and "pred/case7_1" in line and "pred/overlays" in line
        assert "1 misnamed (" in line and "image9.jpg, wanted image9.png" in line
        assert "missing=" not in line
    report = (tmp_path / "out/integrity.txt").read_text().splitlines()
    assert len(report) == 4 and any("notes.txt" in one for one in report)


def test_missing_maps_are_listed(trees, tmp_path):
    gt, pred = trees
    for path in (pred / "case1_1").iterdir():
        path.unlink()
    (pred / "case2_1/image9.png").unlink()
    with pytest.raises(DataError) as caught:
        score(gt, pred, tmp_path / "out")
    line = str(caught.value)
    assert "4 missing" in line and "case1_1 is empty, 3 maps" in line
    assert "case2_1/image9.png" in line
    assert "missing=zero or missing=skip" in line
    assert str(tmp_path / "out/integrity.txt") in line
    # The clinical protocol needs the first and the last frame too.
    with pytest.raises(DataError, match="6 missing"):
        score(gt, pred, tmp_path / "out", protocol="clinical")


def test_first_and_last_maps_are_not_needed_by_vps(trees, tmp_path):
    gt, pred = trees
    whole = score(gt, pred, tmp_path / "whole")
    for name in ("image8", "image12"):
        (pred / f"case1_1/{name}.png").unlink()
    assert score(gt, pred, tmp_path / "out") == whole


def test_missing_as_zero_or_left_out(trees, tmp_path):
    gt, pred = trees
    black = make_clips(tmp_path / "black", shift=1)
    save(black / MAP, np.zeros(SHAPE, np.uint8))
    expected = score(gt, black, tmp_path / "black_out", protocol="both")
    (pred / MAP).unlink()
    zero = score(gt, pred, tmp_path / "zero", missing="zero", protocol="both")
    assert (zero["subsets"], zero["clinical"]) == (expected["subsets"], expected["clinical"])
    assert zero["counts"]["all"]["missing"] == 1
    assert "1 maps are missing and were scored as empty" in (tmp_path / "zero/table.md").read_text()
    assert "pred/case1_1/image9.png" in (tmp_path / "zero/integrity.txt").read_text()

    skip = score(gt, pred, tmp_path / "skip", missing="skip", protocol="both")
    rows = read_csv(tmp_path / "skip/frames.csv")
    assert [r["map"] for r in rows if r["clip"] == "case1_1"] == ["there", "missing"] + [
        "there"
    ] * 3
    kept = [float(r["mae"]) for r in rows if r["clip"] == "case1_1" and r["mae"]]
    assert len(kept) == 2
    assert skip["clips"]["all"]["case1_1"]["mae"] == pytest.approx(np.mean(kept))
    assert skip["counts"]["all"]["vps_frames"] == 4

    for path in (pred / "case1_1").iterdir():
        path.unlink()
    skip = score(gt, pred, tmp_path / "skip", missing="skip")
    assert list(skip["clips"]["all"]) == ["case2_1"]
    assert skip["left_out"]["all"] == {"case1_1": "no map of a frame that counts"}


def test_short_clips(tmp_path):
    gt = make_clips(tmp_path / "gt", (1, 2, 4))
    pred = make_clips(tmp_path / "pred", (1, 2, 4), shift=1)
    with pytest.raises(DataError) as caught:
        score(gt, pred, tmp_path / "out")
    assert str(caught.value).startswith(
        "2 clips have fewer than 3 frames: all/case1_1 (1), all/case2_1 (2); VPS drops"
    )
    found = score(gt, pred, tmp_path / "out", short_clips="skip")
    assert list(found["clips"]["all"]) == ["case3_1"]
    assert set(found["left_out"]["all"]) == {"case1_1", "case2_1"}
    clinical = score(gt, pred, tmp_path / "out", protocol="clinical")
    assert len(clinical["clinical"]["clips"]["all"]) == 3
    assert clinical["subsets"] == {}
    for tree in (gt, pred):
        (tree / "case3_1").rename(tmp_path / f"away_{tree.name}")
    with pytest.raises(DataError, match="no clip of all is left"):
        score(gt, pred, tmp_path / "out", short_clips="skip")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gt": "absent"}, "no folder absent; gt is a SUN-SEG root"),
        ({"gt": "empty"}, "no clip folders in empty"),
        ({"gt": "hollow"}, "no masks in hollow/case1_1"),
        ({"pred": "absent"}, "no folder absent; pred is a folder of maps"),
        ({"pred": "empty"}, "no maps in empty: wanted empty/case1_1, or .* got nothing"),
        ({"output": "file"}, "output file is a file"),
        ({"output": "pred/results"}, "output pred/results is inside pred"),
        ({"output": "pred"}, "output pred is inside pred"),
        ({"output": "gt/results"}, "output gt/results is inside gt"),
        ({"subsets": ("unseen_easy",)}, "are parts of a SUN-SEG root"),
        ({"subsets": ()}, "subsets: got an empty list"),
        ({"gt": "sun", "subsets": ("easy",)}, "unknown subset 'easy'; wanted one of train, seen_"),
        ({"gt": "sun", "subsets": ("seen_easy",)}, "so no masks of subset seen_easy; present: un"),
        ({"protocol": "clinic"}, "protocol: got 'clinic', wanted vps or clinical or both"),
        ({"missing": "ignore"}, "missing: got 'ignore'"),
        ({"num_workers": 0}, "num_workers: got 0, wanted"),
        ({"reference": "other"}, "reference 'other' is not one of pred"),
        ({"attributes": "absent.csv"}, "no file absent.csv"),
        ({"quality": True}, "no folder .*frames=.*; say where they are with frames=DIR"),
        ({"polyp_free": "gt"}, "polyp_free is scored by the clinical protocol only"),
    ],
)
def test_what_does_not_fit_is_one_line(trees, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("hollow/case1_1").mkdir(parents=True)
    Path("file").write_text("")
    make_clips(Path("sun/TestEasyDataset/Unseen/GT"))
    given = {"gt": "gt", "pred": "pred", "output": "out", **changes}
    given |= {k: Path(v) for k, v in given.items() if k in ("attributes", "polyp_free")}
    with pytest.raises(UserError, match=message) as caught:
        score(**given)
    assert "\n" not in str(caught.value)
    assert not Path("out").exists()


def test_the_command_ends_with_the_line_and_code_1(trees, tmp_path):
    (tmp_path / "pred" / MAP).unlink()
    done = run_evaluate("gt=gt", "pred=pred", "output=out", "num_workers=1", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("error:")]
    assert line.startswith("error: maps of pred: 1 missing (")
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"gt", "pred", "out"}


def test_an_error_in_a_worker_process_arrives_whole(trees, tmp_path):
    corrupt(tmp_path / "pred" / MAP)
    with pytest.raises(FrameError, match=r"image9.png cannot be read as an image"):
        score(*trees, tmp_path / "out", num_workers=2)


def test_numbers_out_of_range_in_the_config():
    for override, message in (
        ("clinical.threshold=2", "threshold: got 2"),
        ("bootstrap.confidence=95", "confidence: got 95"),
        ("min_run=0", "min_run: got 0"),
    ):
        with initialize_config_dir(config_dir(), version_base="1.3"):
            cfg = compose("evaluate", overrides=["gt=a", "pred=b", "output=c", override])
        with pytest.raises(ConfigError, match=message):
            settings_from(cfg)


def test_results_of_others_are_kept(trees, tmp_path):
    for name in ("metrics.json", "report.html"):
        mine = tmp_path / f"out_{name}" / name
        mine.parent.mkdir()
        mine.write_text("mine")
        with pytest.raises(ConfigError, match=f"{name} is there and no evaluation wrote it"):
            score(*trees, mine.parent)
        assert mine.read_text() == "mine"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/status.json").write_text('{"state": "finished"}')
    with pytest.raises(ConfigError, match="the folder of a training"):
        score(*trees, tmp_path / "run")
    for _ in range(2):  # its own are replaced
        score(*trees, tmp_path / "out", protocol="both")


def test_an_output_that_cannot_be_made_is_refused_before_the_maps_are_looked_at(tmp_path):
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(ConfigError, match="file is a file; wanted a folder"):
            score(tmp_path / "gt", tmp_path / "pred", output)


def test_maps_of_another_size_are_said_to_be_resized(trees, tmp_path, caplog):
    gt, pred = trees
    for path in (pred / "case2_1").iterdir():
        Image.open(path).resize((64, 48)).save(path)
    score(gt, pred, tmp_path / "out", protocol="both")
    (line,) = [text for text in caplog.messages if "resized" in text]
    assert "in 1 clips" in line and "case2_1 (48x64 to 24x32)" in line


def test_an_extra_folder_has_another_hint_than_extra_frames(trees, tmp_path):
    gt, pred = trees
    (pred / "case9_1").mkdir()
    with pytest.raises(DataError, match="1 extra") as caught:
        score(gt, pred, tmp_path / "out")
    assert "sparse_masks" not in str(caught.value)


def test_letters_composed_otherwise_are_a_wrong_name_not_another_frame(trees, tmp_path):
    gt, pred = trees
    for tree, form in ((gt, "NFC"), (pred, "NFD")):
        path = tree / MAP
        path.rename(path.with_name(unicodedata.normalize(form, "é9.png")))
    with pytest.raises(DataError, match=r"1 misnamed .*composed letters \(Unicode NFC\)"):
        score(gt, pred, tmp_path / "out")
