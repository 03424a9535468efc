"""What a user reads of an error is one line."""

import pytest
from torch.utils.data import DataLoader

from sali.data.clip_tables import read_attributes, read_rates, read_runs
from sali.errors import DataError, FrameError, UserError
from sali.run.io import read_json


class Broken:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise FrameError("cannot read frame a\nb.png: Error: cut off")


def test_a_name_with_a_line_break_does_not_break_the_line():
    assert str(UserError("case\n1 is  not there")) == "case 1 is  not there"


def test_an_error_of_a_loader_process_is_its_own_line():
    with pytest.raises(FrameError) as caught:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert str(caught.value) == "cannot read frame a b.png: Error: cut off"


@pytest.mark.parametrize(
    "read", [read_attributes, read_runs, lambda path: read_rates(path.parent, ["case1"])]
)
def test_tables_that_are_no_text(tmp_path, read):
    path = tmp_path / "fps.csv"
    path.write_bytes("clip,größe\n".encode("latin-1"))
    with pytest.raises(DataError, match="fps.csv cannot be read as a CSV file in UTF-8"):
        read(path)


@pytest.mark.parametrize("text", ["[1]", "null", "{", "[" * 100_000])
def test_json_that_is_no_mapping(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match="run.json"):
        read_json(tmp_path / "run.json")
