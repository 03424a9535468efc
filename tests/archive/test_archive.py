"""The command over an archive in one process: whole results, failures listed, what is missing."""

import fsspec
import pytest
from archives import make_videos, predict, states

from sali.archive.places import place_at
from sali.errors import ConfigError, DataError


@pytest.fixture
def output():
    fsspec.filesystem("memory").store.clear()  # one for all tests of the process
    return place_at("memory://bucket/maps")


def summary(output):
    return states(output.beside("_archive").below("summary.csv").read().decode())


def test_same_command_does_what_is_missing(checkpoint, tmp_path, output):
    make_videos(tmp_path, 2, frames=2)
    whole = (tmp_path / "clip00.mkv").read_bytes()
    (tmp_path / "bad.mkv").write_text("not a video")
    scratch = f"archive.scratch={tmp_path / 'scratch'}"
    with pytest.raises(DataError, match=r"1 of 3 recordings failed, see memory://.*/summary\.csv"):
        predict(checkpoint, tmp_path, output.address, scratch)
    done = {"clip00": "done now", "odd/clip01": "done now"}
    assert summary(output) == {"bad": "failed", **done}
    maps = {name for name in output.files() if name.endswith(".png")}
    assert maps == {f"{name}/00000{i}.png" for name in done for i in range(2)}
    assert output.below("run.json").read()

    (tmp_path / "bad.mkv").write_bytes(whole)
    counts = predict(checkpoint, tmp_path, output.address, scratch)
    assert counts == {"clips": 1, "frames": 2, "skipped": 0}
    assert summary(output) == {"bad": "done now", **dict.fromkeys(done, "there before")}
    same = [output.below(f"{name}/000001.png").read() for name in ("bad", "clip00")]
    assert same[0] == same[1]

    packed = output.beside("_packed")
    only = tmp_path / "clip00.mkv"
    predict(checkpoint, only, packed.address, scratch, "archive.maps=zip", "tables=true")
    assert [*packed.files()] == ["clip00.zip", "run.json"]
    assert "clip00.csv" in packed.beside("_tables").files()

    with pytest.raises(ConfigError, match=r"the results there have another threshold"):
        predict(checkpoint, tmp_path, output.address, "threshold=0.3")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["streams=2"], "streams: got 2, wanted 1"),
        (["archive.maps=none"], "leaves nothing; add tables=true"),
        (["archive.maps=tar"], "archive.maps: got 'tar', wanted one of files, zip, none"),
        (["engine=slurm"], "engine: got 'slurm', wanted one of local, ray"),
        (["output=memory://bucket"], "wanted a folder in it, as in memory://bucket/maps"),
    ],
)
def test_what_does_not_fit_is_one_line(checkpoint, tmp_path, given, message):
    with pytest.raises(ConfigError, match=message):
        predict(checkpoint, tmp_path, "memory://bucket/maps", *given)


def test_a_record_of_something_else_is_refused(checkpoint, tmp_path, output):
    make_videos(tmp_path, 1, frames=1)
    output.beside("_archive").below("clip00.json").write(b"{}")
    with pytest.raises(DataError, match="no record of a recording"):
        predict(checkpoint, tmp_path, output.address)
    output.beside("_archive").below(".settings.json").write(b"[1]")
    with pytest.raises(DataError, match="is not what sali.predict writes there"):
        predict(checkpoint, tmp_path, output.address)


def test_results_among_recordings_are_refused(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match="are in each other"):
        predict(checkpoint, tmp_path, tmp_path / "maps", "engine=ray")
