"""Files and folders by address: local paths, s3://, gs://, https:// and what else fsspec knows."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from sali.data.listing import visible_files
from sali.errors import ConfigError, DataError, UserError
from sali.run.io import atomic_write

SCALE = "pip install 'sali[scale]'"
NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
"""Errors of boto and of Google's libraries."""
VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
"""What the file systems call that which changes with a file."""


def is_address(path: str) -> bool:
    """Return whether a path names its file system, as in `s3://bucket/prefix`."""
    return "://" in path


@contextmanager
def reached(address: str) -> Iterator[None]:
    """Make one line of what a file system raises.

    Raises:
        ConfigError: There are no credentials.
        DataError: Everything else.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{address}: no such file or folder") from error
    except PermissionError as error:
        raise DataError(f"{address}: access denied ({error})") from error
    except Exception as error:  # every file system has errors of its own
        if type(error).__name__ in NO_CREDENTIALS:
            raise ConfigError(
                f"{address}: no credentials; s3:// takes AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, gs:// GOOGLE_APPLICATION_CREDENTIALS, on every node"
            ) from error
        lines = str(error).splitlines() or [""]
        raise DataError(f"{address}: {type(error).__name__}: {lines[0]}") from error


@dataclass(frozen=True)
class Place:
    """A file or folder that may not be there yet: its address, fsspec's file system, the path."""

    address: str
    fs: Any
    path: str

    @property
    def local(self) -> Path | None:
        """Path on this machine, or on what all nodes have mounted; None elsewhere."""
        return Path(self.path) if "file" in self.fs.protocol else None

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name

    def below(self, name: str) -> "Place":
        """Return the place with a relative path in this folder."""
        return Place(f"{self.address}/{name}", self.fs, f"{self.path}/{name}")

    def beside(self, ending: str) -> "Place":
        """Return the place whose name is that of this one and an ending."""
        return Place(f"{self.address}{ending}", self.fs, f"{self.path}{ending}")

    def version(self) -> tuple[int, str]:
        """Return size in bytes, and a text that changes with the file."""
        with reached(self.address):
            return version_of(self.fs.info(self.path))

    def files(self) -> dict[str, tuple[int, str]]:
        """Return `version` of every file in this folder and below, by relative path."""
        with reached(self.address):
            self.fs.invalidate_cache()
            found = self.fs.find(self.path, detail=True)
        start = len(self.path.rstrip("/")) + 1
        return {path[start:]: version_of(info) for path, info in sorted(found.items())}

    def read(self) -> bytes | None:
        """Return the content of this file; None if there is none."""
        with reached(self.address):
            try:
                return self.fs.cat_file(self.path)
            except FileNotFoundError:
                return None

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """Return the contents of files in this folder, many of which are read at a time."""
        if not names:
            return []
        with tempfile.TemporaryDirectory() as folder:
            self.get(names, Path(folder))
            return [(Path(folder) / name).read_bytes() for name in names]

    def write(self, content: bytes) -> None:
        """Make this a file with a content, in one step."""
        with reached(self.address):
            if self.local:
                with atomic_write(self.local) as partial:
                    partial.write_bytes(content)
            else:
                self.fs.pipe_file(self.path, content)

    def remove(self) -> None:
        """Remove the file, if it is there."""
        with reached(self.address):
            if self.fs.exists(self.path):
                self.fs.rm_file(self.path)

    def get(self, names: Sequence[str], folder: Path) -> None:
        """Copy files of this folder into a local one, with their relative paths."""
        with reached(self.address):
            for parent in {(folder / name).parent for name in names}:
                parent.mkdir(parents=True, exist_ok=True)
            paths = [f"{self.path}/{name}" for name in names]
            self.fs.get(paths, [str(folder / name) for name in names])

    def put(self, source: Path) -> None:
        """Copy a local file or folder here, in place of what was there.

        On this machine it appears in one step. Elsewhere a file does, and the files of a folder
        one by one.

        Raises:
            DataError: A folder elsewhere holds files that would not be replaced.
        """
        with reached(self.address):
            if self.local:
                with atomic_write(self.local) as partial:
                    (shutil.copytree if source.is_dir() else shutil.copy2)(source, partial)
                    if self.local.is_dir():
                        shutil.rmtree(self.local)
                return
            if source.is_file():
                self.fs.put_file(str(source), self.path)
                return
            files = [path.relative_to(source).as_posix() for path in visible_files(source)]
            if strays := sorted(set(self.files()) - set(files)):
                raise DataError(
                    f"{self.address} holds {strays[0]}, which is not of this recording; move it "
                    "away"
                )
            paths = [f"{self.path}/{name}" for name in files]
            self.fs.put([str(source / name) for name in files], paths)


def version_of(info: Mapping[str, Any]) -> tuple[int, str]:
    """Return size in bytes and version from what a file system says of a file."""
    version = next((info[key] for key in VERSIONS if info.get(key) is not None), "")
    return int(info.get("size") or 0), str(version)


def place_at(address: str) -> Place:
    """Return the place of an address or a local path.

    Raises:
        ConfigError: A file system that is unknown or not installed.
    """
    scheme = address.partition("://")[0]
    try:
        with reached(address):
            fs, path = fsspec.url_to_fs(address)
    except DataError as error:
        if isinstance(error.__cause__, ImportError):
            raise ConfigError(f"{address}: {scheme}:// is not installed: {SCALE}") from error
        if isinstance(error.__cause__, ValueError):
            raise ConfigError(
                f"{address}: got {scheme}://, wanted a path, s3://, gs:// or https://"
            ) from error
        raise
    path = path.rstrip("/")
    return Place(address.rstrip("/") if is_address(address) else path, fs, path)


def archive_of(output: Place) -> Place:
    """Return the folder with what is known of the results in `output`."""
    return output.beside("_archive")


def _recording_of(name: str) -> str:
    """Return the recording that a file of maps belongs to; "" for what is of all of them."""
    path = PurePosixPath(name)
    if path.suffix == ".zip":
        return path.with_suffix("").as_posix()
    return "" if path.parent == PurePosixPath(".") else path.parent.as_posix()


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """Provide a folder at an address as a local one; a local path as it is.

    Of the results of an archive only those that are whole are copied; ZIP files become folders.

    Raises:
        UserError: It cannot be reached, or there is nothing.
    """
    if not is_address(address):
        yield Path(address)
        return
    place = place_at(address)
    names = [*place.files()]
    whole = {name.removesuffix(".json") for name in archive_of(place).files()}
    if whole:
        names = [name for name in names if _recording_of(name) in {*whole, ""}]
    if not names:
        raise DataError(f"{address}: no such folder, or nothing in it")
    with tempfile.TemporaryDirectory(prefix="sali_") as folder:
        local = Path(folder) / place.name
        place.get(names, local)
        for packed in local.rglob("*.zip"):
            shutil.unpack_archive(packed, packed.with_suffix(""))
            packed.unlink()
        yield local


def zipped(folder: Path, path: Path) -> Path:
    """Write the files of a folder as they are into a ZIP file, and return its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in visible_files(folder):
            archive.write(file, file.relative_to(folder).as_posix())
    return path
