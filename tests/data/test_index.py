"""The index of clips: order, masks, what users point at."""

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from sali.data.index import (
    fingerprint,
    index_clip,
    index_source,
    index_subset,
    index_truth_clip,
    require_sizes,
)
from sali.data.listing import litter_counted
from sali.errors import DataError
from sali.evaluation.inputs import index_truth
from sali.evaluation.settings import Settings

NAME = "case_M_20181001100041_0U62372100109340_1_005_001-1_a{}_ayy_image{:04d}"


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.fixture
def root(tmp_path):
    base = tmp_path / "TestEasyDataset" / "Unseen"
    for clip in ("case10_1", "case2_1"):
        for segment, number in ((10, 1), (9, 99), (9, 100)):
            touch(base / "Frame" / clip / f"{NAME.format(segment, number)}.jpg")
            touch(base / "GT" / clip / f"{NAME.format(segment, number)}.png")
    return tmp_path


def test_order_of_time_not_of_strings(root):
    clips = index_subset(root, "unseen_easy")
    assert [clip.name for clip in clips] == ["case2_1", "case10_1"]
    stems = [frame.stem for frame in clips[0].frames]
    assert stems == [NAME.format(9, 99), NAME.format(9, 100), NAME.format(10, 1)]
    assert stems != sorted(stems)
    assert [mask.stem for mask in clips[0].masks] == stems
    assert clips[0].case == "case2"


def test_subset_by_folder_name_and_frames_without_masks(root):
    (root / "TestEasyDataset/Unseen/GT/case2_1" / f"{NAME.format(9, 99)}.png").unlink()
    clips = index_subset(root, "TestEasyDataset/Unseen")
    assert clips[0].masks[0] is None
    assert clips[0].masks[1] is not None


def test_stray_masks_and_doubled_frames_are_errors(root):
    base = root / "TestEasyDataset/Unseen"
    stray = touch(base / "GT/case2_1/other.png")
    with pytest.raises(DataError, match="1 masks.*have no frame.*other"):
        index_subset(root, "unseen_easy")
    stray.unlink()
    touch(base / "Frame/case2_1" / f"{NAME.format(9, 99)}.png")
    with pytest.raises(DataError, match="would both be frame"):
        index_subset(root, "unseen_easy")


@pytest.mark.parametrize("of_masks", ["NFC", "NFD"])
def test_a_letter_and_its_accent_are_one_name_however_they_are_stored(tmp_path, of_masks):
    for t in range(2):
        touch(tmp_path / "Frame/a" / unicodedata.normalize("NFD", f"é{t}.jpg"))
        touch(tmp_path / "GT/a" / unicodedata.normalize(of_masks, f"é{t}_mask.png"))
    clip = index_clip(tmp_path / "Frame/a", "", tmp_path / "GT/a")
    assert all(clip.masks)
    truths = [index_truth_clip(tmp_path / "GT/a", "", f) for f in (tmp_path / "Frame/a", None)]
    assert [clip.stems, *(truth.stems for truth in truths)] == [("é0", "é1")] * 3
    touch(tmp_path / "Frame/a" / unicodedata.normalize("NFC", "é0.jpg"))
    with pytest.raises(DataError, match="would both be frame é0"):
        index_clip(tmp_path / "Frame/a")


def test_what_users_point_at(root):
    base = root / "TestEasyDataset/Unseen"
    from_subset = index_source(base)
    from_clips = index_source(base / "Frame")
    assert [c.frames for c in from_subset] == [c.frames for c in from_clips]
    (single,) = index_source(base / "Frame/case2_1")
    assert single.frames == from_clips[0].frames


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "absent", "no such folder"),
        (lambda p: touch(p / "video.mp4"), "is a file"),
        (lambda p: touch(p / "notes/readme.txt").parent, "no frames in"),
        (lambda p: touch(p / "clips/case1_1/readme.txt").parents[1], "no frames in .*case1_1"),
        (
            lambda p: (touch(p / "all/plan.png"), touch(p / "all/case1_1/1.png"))[0].parent,
            "holds images, e.g. plan.png, and folders of images, e.g. case1_1",
        ),
        (
            lambda p: (touch(p / "all/Masks/1.png"), touch(p / "all/images/1.png"))[0].parents[1],
            "holds Masks, which are masks by its name.*source=.*images",
        ),
    ],
)
def test_sources_that_hold_nothing(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        index_source(make(tmp_path))


def test_missing_data_says_what_layout_is_wanted(tmp_path):
    with pytest.raises(DataError, match=r"TrainDataset/Frame; data.root must be a folder"):
        index_subset(tmp_path, "train")
    with pytest.raises(DataError, match="unknown subset 'easy'"):
        index_subset(tmp_path, "easy")


def test_fingerprint_changes_with_the_files(root):
    before = fingerprint(index_subset(root, "unseen_easy"), root)
    assert before == fingerprint(index_subset(root, "unseen_easy"), root)
    frame = root / "TestEasyDataset/Unseen/Frame/case2_1" / f"{NAME.format(9, 99)}.jpg"
    frame.write_bytes(b"xy")
    assert fingerprint(index_subset(root, "unseen_easy"), root) != before


def test_hidden_files_and_folders_are_skipped(root):
    base = root / "TestEasyDataset/Unseen"
    before = index_subset(root, "unseen_easy")
    for kind in ("Frame", "GT"):
        touch(base / kind / "case2_1" / f"._{NAME.format(9, 99)}.png")
        touch(base / kind / ".thumbnails" / "image1.png")
    assert index_subset(root, "unseen_easy") == before
    assert [clip.frames for clip in index_source(base)] == [clip.frames for clip in before]


LITTER = ("._1.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/1.png")
LITTER += ("@eaDir/1.png", "__MACOSX/1.png")


def test_litter_is_passed_over_and_counted_in_one_line(root, caplog):
    base = root / "TestEasyDataset/Unseen"
    before = index_source(base), index_subset(root, "unseen_easy"), index_truth(base, Settings())
    for place in (base, base / "Frame", base / "GT", base / "Frame/case2_1", base / "GT/case2_1"):
        for name in LITTER:
            touch(place / name)
    caplog.set_level("INFO")
    with litter_counted():
        after = index_source(base), index_subset(root, "unseen_easy")
        assert (*after, index_truth(base, Settings())) == before
    (line,) = [r.getMessage() for r in caplog.records if "passed over" in r.getMessage()]
    assert f"passed over {5 * len(LITTER)} " in line


def test_frames_next_to_a_folder_of_masks_are_one_clip(root):
    folder = root / "TestEasyDataset/Unseen/Frame/case2_1"
    before = index_source(folder)
    touch(folder / "masks/1.png")
    assert index_source(folder) == before


def picture(path, height, width):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path)


def test_sizes_are_compared_by_headers(tmp_path):
    for name, size in (("0", (8, 9)), ("1", (10, 9))):
        picture(tmp_path / f"Frame/{name}.png", *size)
        picture(tmp_path / f"GT/{name}.png", *size)
    clip = index_clip(tmp_path / "Frame", mask_folder=tmp_path / "GT")
    require_sizes([clip], alike=False)
    with pytest.raises(DataError, match="1.png is 10x9 and .*0.png 8x9"):
        require_sizes([clip], alike=True)
    picture(tmp_path / "GT/1.png", 9, 10)
    with pytest.raises(DataError, match="GT/1.png is 9x10 and .*Frame/1.png 10x9"):
        require_sizes([clip], alike=False)


def test_a_ground_truth_takes_its_order_from_masks_and_its_frames_where_all_are_there(root, caplog):
    base = root / "TestEasyDataset/Unseen"
    masks, frames = base / "GT/case2_1", base / "Frame/case2_1"
    whole = index_subset(root, "unseen_easy")[0]
    assert index_truth_clip(masks, "unseen_easy", frames) == whole
    touch(frames / "more.jpg")  # a frame without a mask is not scored
    assert index_truth_clip(masks, "unseen_easy", frames) == whole
    assert index_truth_clip(masks, "unseen_easy", root / "absent").frames == ()
    assert not caplog.records
    whole.frames[1].unlink()
    clip = index_truth_clip(masks, "unseen_easy", frames)
    assert clip.frames == () and clip.masks == whole.masks and clip.stems == whole.stems
    assert "frames for 2 of 3 masks" in caplog.text
