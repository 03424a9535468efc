"""Which recordings an archive holds, and what they are called."""

import pytest

from sali.archive.places import place_at
from sali.archive.recordings import index_recordings
from sali.errors import DataError


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return place_at(str(root))


def names(source):
    return [one.name for one in index_recordings(source)]


def test_videos_and_folders_of_frames_at_any_depth(tmp_path):
    source = make(tmp_path, "b/10.mp4", "b/9.MOV", "a/clip/2.png", "a/clip/10.jpg", "a/notes.txt")
    found = {one.name: one for one in index_recordings(source)}
    assert [*found] == ["a/clip", "b/9", "b/10"]
    assert sorted(found["a/clip"].files) == ["10.jpg", "2.png"]
    assert found["b/9"].files == ("9.MOV",)
    assert [one.is_video for one in found.values()] == [False, True, True]


def test_subset_of_sun_seg_gives_its_frames(tmp_path):
    assert names(make(tmp_path, "Frame/case1/1.jpg", "GT/case1/1.png")) == ["case1"]


def test_masks_hidden_files_and_thumbnails_are_passed_over(tmp_path):
    source = make(
        tmp_path,
        "a.mp4",
        "a.jpg",
        ".b.mp4",
        "x/frames/1.png",
        "x/masks/1.png",
        "@eaDir/c.mp4",
    )
    assert names(source) == ["a", "x/frames"]


def test_one_folder_of_frames_and_one_video(tmp_path):
    clip = make(tmp_path / "case7", "1.png", "2.png")
    assert names(clip) == ["case7"]
    video = make(tmp_path, "videos/b.mp4").below("videos/b.mp4")
    (one,) = index_recordings(video)
    assert (one.name, one.files, one.home.path) == ("b", ("b.mp4",), str(tmp_path / "videos"))


def test_version_changes_with_a_file(tmp_path):
    source = make(tmp_path, "a.mp4", "clip/1.png")
    before = {one.name: one.version for one in index_recordings(source)}
    (tmp_path / "clip/1.png").write_text("longer than before")
    after = {one.name: one.version for one in index_recordings(source)}
    assert before["a"] == after["a"]
    assert before["clip"] != after["clip"]


def test_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="would both be a; rename one"):
        names(make(tmp_path, "a.mp4", "a.avi"))


def test_nothing_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no videos and no folders of frames there"):
        names(make(tmp_path, "notes.txt"))
