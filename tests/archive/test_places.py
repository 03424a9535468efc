"""Addresses: what is copied, what appears in one step, and the lines that users see."""

import fsspec
import pytest

from sali.archive.places import local_copy, place_at, reached, zipped
from sali.errors import ConfigError, DataError


@pytest.fixture(params=["memory", "local"])
def home(request, tmp_path):
    """An empty folder at an address, or on this machine."""
    if request.param == "local":
        yield place_at(str(tmp_path / "home"))
        return
    place = place_at("memory://bucket/home")
    yield place
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def clip(tmp_path):
    """A folder with two files."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.png").write_text(name)
    return folder


def test_folder_goes_there_and_comes_back(home, clip, tmp_path):
    home.below("x/clip").put(clip)
    assert [*home.files()] == ["x/clip/a.png", "x/clip/b.png"]
    home.get(["x/clip/b.png"], tmp_path / "back")
    assert (tmp_path / "back/x/clip/b.png").read_text() == "b"
    assert home.read_all(["x/clip/b.png", "x/clip/a.png"]) == [b"b", b"a"]


def test_file_is_written_read_and_removed(home, clip):
    place = home.below("note.json")
    assert place.read() is None
    place.write(b"1")
    size, version = place.version()
    assert (place.read(), size) == (b"1", 1)
    assert version
    place.remove()
    place.remove()
    assert home.files() == {}
    place.put(clip / "a.png")
    assert place.read() == b"a"


def test_folder_with_files_of_others_is_not_mixed(clip):
    place = place_at("memory://bucket/mixed")
    place.below("c.png").write(b"mine")
    with pytest.raises(DataError, match=r"mixed holds c\.png.*move it away"):
        place.put(clip)
    assert [*place.files()] == ["c.png"]


def test_local_copy_leaves_out_what_is_not_whole(clip):
    maps = place_at("memory://bucket/maps")
    for name in ("one", "two"):
        maps.below(name).put(clip)
    maps.below("run.json").write(b"{}")
    with local_copy(maps.address) as folder:
        assert len([*folder.rglob("*.png")]) == 4
    maps.beside("_archive").below("one.json").write(b"{}")
    with local_copy(maps.address) as folder:
        assert folder.name == "maps"
        assert sorted(p.name for p in folder.iterdir()) == ["one", "run.json"]


def test_local_copy_opens_zip_files(clip, tmp_path):
    place = place_at("memory://bucket/zipped")
    place.below("2024/one.zip").put(zipped(clip, tmp_path / "one.zip"))
    place.below("two.zip").put(tmp_path / "one.zip")
    place.beside("_archive").below("2024/one.json").write(b"{}")
    with local_copy(place.address) as folder:
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))
        assert files == ["2024/one/a.png", "2024/one/b.png"]


def test_local_folder_is_not_copied(tmp_path):
    with local_copy(str(tmp_path)) as folder:
        assert folder == tmp_path


def test_missing_folder_is_one_line():
    with (
        pytest.raises(DataError, match="memory://nowhere: no such folder"),
        local_copy("memory://nowhere"),
    ):
        pass


def test_unknown_address_is_one_line():
    with pytest.raises(ConfigError, match=r"got ftpx://, wanted a path, s3://"):
        place_at("ftpx://host/folder")


def test_file_system_that_is_not_installed(monkeypatch):
    def missing(address):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(ConfigError, match=r"s3:// is not installed: pip install 'sali\[scale\]'"):
        place_at("s3://bucket/folder")


def test_errors_of_file_systems_are_one_line():
    class NoCredentialsError(Exception):
        pass

    with pytest.raises(ConfigError, match="s3://b: no credentials; s3:// "), reached("s3://b"):
        raise NoCredentialsError("Unable to locate credentials")
    with pytest.raises(DataError, match="s3://b: access denied"), reached("s3://b"):
        raise PermissionError("Forbidden")
    with pytest.raises(DataError, match="s3://b: OSError: first$"), reached("s3://b"):
        raise OSError("first\nsecond")
