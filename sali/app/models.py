"""Networks that can be picked; each is loaded once and shared by all users."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sali.errors import ConfigError, WeightsError
from sali.models.checkpoint import load_network
from sali.models.contract import VideoSegmenter
from sali.streaming import StreamSegmenter, prepare_network

CHECKPOINT_SUFFIXES = (".ckpt", ".pth", ".pt")


@dataclass(frozen=True)
class Options:
    """What a user picks before a run.

    Attributes:
        model: a name of ``Models``.
        precision: "32", "bf16" or "16".
        max_frames: of the memory; 0 turns it off.
        every: n, where every n-th frame is stored.
    """

    model: str
    precision: str
    max_frames: int
    every: int


class Models:
    """Checkpoints by name.

    Args:
        paths: file of each name.
        settings_of: the settings of a checkpoint -> image size, memory, decode (see
            ``sali.build.prediction_settings``).
        device: where they run.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        settings_of: Callable[[dict[str, Any], VideoSegmenter], dict[str, Any]],
        device: torch.device,
    ) -> None:
        self._paths = dict(paths)
        self._settings_of = settings_of
        self._device = device
        self._loading = threading.Lock()
        self._networks: dict[tuple[str, str], VideoSegmenter] = {}
        self._settings: dict[str, dict[str, Any]] = {}

    @property
    def names(self) -> list[str]:
        return list(self._paths)

    def settings(self, name: str) -> dict[str, Any]:
        """How the checkpoint wants to be run.

        Raises:
            UserError: an unknown name or a checkpoint that cannot be loaded.
        """
        if name not in self._settings:
            self.network(name, "32")
        return dict(self._settings[name])

    def has_memory(self, name: str) -> bool:
        return "max_frames" in self.network(name, "32").video_settings

    def network(self, name: str, precision: str) -> VideoSegmenter:
        """Prepared for a precision; weights are changed for it, so there is one of each.

        Raises:
            UserError: as ``settings``.
        """
        if name not in self._paths:
            raise ConfigError(f"no model {name!r}; there are {', '.join(self._paths)}")
        with self._loading:
            if (name, precision) not in self._networks:
                network, trained = load_network(self._paths[name])
                self._settings[name] = self._settings_of(trained, network)
                size = self._settings[name]["image_size"]
                prepared = prepare_network(network.to(self._device), size, precision)
                self._networks[name, precision] = prepared
            return self._networks[name, precision]

    def segmenter(self, options: Options) -> StreamSegmenter:
        """A segmenter of its own for one run.

        Raises:
            UserError: settings that do not fit.
        """
        settings = self.settings(options.model)
        chosen = {"max_frames": options.max_frames, "every": options.every}
        video = {**settings["video"], **(chosen if self.has_memory(options.model) else {})}
        network = self.network(options.model, options.precision)
        try:
            segmenter = StreamSegmenter(network, settings["image_size"], options.precision, **video)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return segmenter


def find_checkpoints(given: list[str], named: Mapping[str, str]) -> dict[str, Path]:
    """Checkpoint files by the names that a user sees.

    Args:
        given: files, or folders of them.
        named: name -> file.

    Raises:
        UserError: none, or one that is not there.
    """
    files: list[Path] = []
    for path in map(Path, given):
        inside = sorted(p for p in path.glob("*") if p.suffix in CHECKPOINT_SUFFIXES)
        if path.is_dir() and not inside:
            wanted = ", ".join(CHECKPOINT_SUFFIXES)
            raise WeightsError(f"no checkpoint in {path}; wanted files with one of {wanted}")
        files += inside if path.is_dir() else [path]
    found = {name: Path(path) for name, path in named.items()}
    for file in files:
        name = file.stem
        folders = list(file.absolute().parents)
        while name in found and folders:  # best.ckpt of several runs
            name = f"{folders.pop(0).name}/{name}"
        found[name] = file
    if not found:
        raise ConfigError("no model; give ckpt=best.ckpt, a list or folder of them, or models=...")
    for name, file in found.items():
        if not file.is_file():
            raise WeightsError(f"no checkpoint {file} (model {name!r})")
    return found
