"""Frames per second by clip."""

import pytest
from PIL import Image

from sali.data.index import index_clip_folders, index_subset, with_rates
from sali.errors import DataError


@pytest.fixture
def root(tmp_path):
    for place in (
        "TrainDataset/Frame/a_1",
        "TrainDataset/Frame/b_1",
        "TestEasyDataset/Seen/GT/c_1",
    ):
        (tmp_path / place).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / place / "1.png")
    return tmp_path


def test_clips_get_the_rates_of_their_table(root):
    assert [c.frames_per_second for c in index_subset(root, "train")] == [None, None]
    (root / "fps.csv").write_text("\ufeffclip, fps\n\nb_1, 6.25\nc_1,25\n", encoding="utf-8")
    assert [c.frames_per_second for c in index_subset(root, "train")] == [None, 6.25]
    folder = root / "TrainDataset/Frame"
    (root / "fps.csv").rename(folder / "fps.csv")
    with pytest.raises(DataError, match="row 4: there is no clip c_1 in"):
        with_rates(index_clip_folders(folder), folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got the header ''"),
        ("name,rate\na_1,3\n", "got the header 'name,rate', wanted 'clip,fps'"),
        ("clip,fps\na_1,3,4\n", "row 2: got 3 cells"),
        ("clip,fps\na_1,3\na_1,3\n", "row 3: a_1 has a row already"),
        ("clip,fps\nd_1,3\n", "row 2: there is no clip d_1"),
        ("clip,fps\na_1,0\n", "row 2: got '0' fps for a_1, wanted > 0"),
        ("clip,fps\na_1,-3\n", "got '-3' fps"),
        ("clip,fps\na_1,nan\n", "got 'nan' fps"),
        ("clip,fps\na_1,fast\n", "got 'fast' fps"),
    ],
)
def test_tables_that_do_not_fit(root, text, message):
    (root / "fps.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        index_subset(root, "train")
