"""Networks that can be picked; each is loaded once and shared by all users."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sali.errors import ConfigError, WeightsError
from sali.models.checkpoint import load_network
from sali.models.contract import VideoSegmenter
from sali.prediction.loop import make_segmenter
from sali.streaming import StreamSegmenter, prepare_network

CHECKPOINT_SUFFIXES = (".ckpt", ".pth", ".pt")


@dataclass(frozen=True)
class Options:
    """What a user picks before a run.

    Attributes:
        model: Name among `Models`.
        precision: "32", "bf16" or "16".
        max_frames: Frames that the memory holds; 0 turns it off.
        every: Distance of the frames that are stored.
    """

    model: str
    precision: str
    max_frames: int
    every: int


class Models:
    """Checkpoints by name.

    Args:
        paths: File of each name.
        settings_of: Function from a checkpoint's settings and its network to the settings of a
            run, see `sali.build.prediction_settings`.
        device: Device that they run on.
        trust: Packages whose networks may be built.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        settings_of: Callable[[dict[str, Any], VideoSegmenter], dict[str, Any]],
        device: torch.device,
        trust: Sequence[str],
    ) -> None:
        self.names = list(paths)
        self._paths, self._settings_of = dict(paths), settings_of
        self._device, self._trust = device, trust
        self._loading = threading.Lock()
        self._loaded: dict[tuple[str, str], tuple[VideoSegmenter, dict[str, Any]]] = {}

    def load(self, name: str, precision: str = "32") -> tuple[VideoSegmenter, dict[str, Any]]:
        """Return a network prepared for a precision, and the settings that it is run with.

        Raises:
            UserError: A checkpoint that cannot be loaded.
        """
        with self._loading:
            if (name, precision) not in self._loaded:
                network, trained = load_network(self._paths[name], trust=self._trust)
                settings = self._settings_of(trained, network)
                network = network.to(self._device)
                network = prepare_network(network, settings["image_size"], precision)
                self._loaded[name, precision] = network, settings
            return self._loaded[name, precision]

    def segmenter(self, options: Options) -> StreamSegmenter:
        """Return a segmenter for one run.

        Raises:
            UserError: Settings that do not fit.
        """
        network, settings = self.load(options.model, options.precision)
        picked = {"max_frames": options.max_frames, "every": options.every}
        video = {name: picked.get(name, value) for name, value in settings["video"].items()}
        return make_segmenter(network, {**settings, "video": video}, options.precision)


def find_checkpoints(given: list[str], named: Mapping[str, str]) -> dict[str, Path]:
    """Return checkpoint files by the names that a user sees.

    Args:
        given: Files, or folders of them.
        named: {name: file}.

    Raises:
        UserError: There is none, or one does not exist.
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
        name, folders = file.stem, list(file.absolute().parents)
        while name in found and folders:  # best.ckpt of several runs
            name = f"{folders.pop(0).name}/{name}"
        found[name] = file
    if not found:
        raise ConfigError("no model; give ckpt=best.ckpt, a list or folder of them, or models=...")
    for name, file in found.items():
        if not file.is_file():
            raise WeightsError(f"no checkpoint {file} (model {name!r})")
    return found
