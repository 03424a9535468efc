"""A bundle: a folder with the graphs of a network and `bundle.json`, which describes them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sali.errors import ConfigError, WeightsError
from sali.models.shipped import find_checkpoint
from sali.run.io import read_json, write_json
from sali.runtime.engines import ENGINES, Run
from sali.runtime.states import STATES, State

FORMAT = 2
"""Of `bundle.json`."""
ABOUT = "bundle.json"


def find_network(name: str | Path) -> Path:
    """Return the file of a checkpoint, or the `bundle.json` of a bundle.

    Raises:
        WeightsError: Neither.
    """
    return find_bundle(name) or find_checkpoint(name)


def find_bundle(name: str | Path) -> Path | None:
    """Return the `bundle.json` that a folder or file name means; None if it means no bundle."""
    path = Path(name)
    path = path if path.name == ABOUT else path / ABOUT
    return path if path.is_file() else None


class Bundle:
    """A network as graphs, ready to run.

    Args:
        path: Folder of the bundle, or its `bundle.json`.
        threads: Processor threads; None: as the engine chooses.

    Attributes:
        about: Content of `bundle.json`.
        image_size: Side in pixels of the square that the network sees.
        settings: How the network is run, see `sali.build.prediction_settings`.

    Raises:
        WeightsError: Not a bundle, one of another format, or one with damaged files.
        ConfigError: The engine is not installed.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        found = find_bundle(path)
        if found is None:
            raise WeightsError(f"no bundle at {path}; wanted a folder that sali.export wrote")
        self.path = found.parent
        self.about = read_json(found)
        version = self.about.get("format")
        if version != FORMAT:
            raise WeightsError(
                f"{found} has format {version}, made by sali {self.about.get('sali')}; this sali "
                f"reads format {FORMAT}: export the checkpoint again"
            )
        self._check_files()
        self.settings: dict[str, Any] = self.about["settings"]
        self.image_size: int = self.settings["image_size"]
        self._mean, self._std = (np.array(self.about[n], np.float32) for n in ("mean", "std"))
        engine, precision = ENGINES[self.about["engine"]], self.about["precision"]
        self._graphs: dict[str, Run] = {
            # Offsets in pixels and similarities of keys want float32.
            name: engine(self.path / file, precision if name == "encode" else "32", threads)
            for name, file in self.about["graphs"].items()
        }

    @property
    def video_settings(self) -> dict[str, Any]:
        """Settings that `start` takes, with the values that it uses without them."""
        return self.settings["video"]

    def normalise(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame uint8 [S, S, 3] as input of the network, float32 [3, S, S]."""
        image = frame.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        return (image - self._mean[:, None, None]) / self._std[:, None, None]

    def encode(self, images: np.ndarray) -> list[np.ndarray]:
        """Return the features of normalised images [B, 3, S, S]."""
        return self._graphs["encode"]({"images": images})

    def start(self, **settings: Any) -> State:
        """Begin a video.

        Args:
            settings: Changes of `video_settings`.

        Raises:
            ConfigError: An unknown setting or a value that does not fit.
        """
        if unknown := sorted(set(settings) - set(self.video_settings)):
            known = ", ".join(self.video_settings) or "none"
            raise ConfigError(f"{self.path} has no setting {', '.join(unknown)}; it takes {known}")
        make = STATES[self.about["state"]]
        return make(self._graphs, {**self.video_settings, **settings}, self.about["options"])

    def _check_files(self) -> None:
        files: Mapping[str, str] = self.about["files"]
        if strange := sorted(set(self.about["graphs"].values()) - set(files)):
            raise WeightsError(
                f"{self.path / ABOUT} names {strange[0]} without its checksum; export again"
            )
        for name, wanted in files.items():
            file = self.path / name
            if not file.is_file():
                raise WeightsError(f"{file} is missing; copy the whole bundle, or export again")
            if checksum(file) != wanted:
                raise WeightsError(
                    f"{file} is not the file that was exported (its checksum differs); copy the "
                    "bundle again, or export again"
                )


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write `bundle.json` with the checksums of all other files of the folder."""
    others = sorted(path for path in folder.iterdir() if path.name != ABOUT)
    write_json(folder / ABOUT, {**about, "files": {path.name: checksum(path) for path in others}})


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
