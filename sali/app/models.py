"""Networks that can be picked; each is loaded once and shared by all users."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sali.data.datasets import FrameReader
from sali.data.listing import visible
from sali.errors import ConfigError, WeightsError
from sali.models.contract import VideoSegmenter
from sali.prediction import FileSource, load
from sali.prediction import Options as LoopOptions
from sali.prediction.loop import make_segmenter
from sali.prediction.sources import Batches
from sali.runtime.bundle import ABOUT, find_bundle, find_network
from sali.runtime.network import load_network
from sali.streaming import StreamSegmenter, prepare_network

CHECKPOINT_SUFFIXES = (".ckpt", ".pth", ".pt", ".safetensors")
LOOP = LoopOptions(skip_bad=True, keep_pictures=True, quiet=True)


@dataclass(frozen=True)
class Options:
    """What a user picks before a run; a memory of 0 frames is off."""

    model: str
    precision: str
    max_frames: int
    every: int


class Turns:
    """A line in which the frames of all users wait for the network: first come, first served."""

    def __init__(self) -> None:
        self._line: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and keep it while this is entered."""
        place = object()
        with self._moved:
            self._line.append(place)
            self._moved.wait_for(lambda: self._line[0] is place)
        try:
            yield
        finally:
            with self._moved:
                self._line.popleft()
                self._moved.notify_all()


class Models:
    """Checkpoints by the names that a user sees.

    Args:
        given: Checkpoint files, or folders of them.
        settings_of: Function from a checkpoint's settings and its network to the settings of a
            run, see `sali.build.prediction_settings`.
        device: Device that they run on, in turns.
        trust: Packages whose networks may be built.

    Raises:
        UserError: There is no checkpoint, or one does not exist.
    """

    def __init__(
        self,
        given: Sequence[str],
        settings_of: Callable[[dict[str, Any], VideoSegmenter], dict[str, Any]],
        device: torch.device,
        trust: Sequence[str],
    ) -> None:
        self.paths = find_checkpoints(given)
        self.turns = Turns()
        self.device = device
        self._settings_of, self._trust = settings_of, trust
        self._loading = threading.Lock()
        self._loaded: dict[tuple[str, str], tuple[VideoSegmenter, dict[str, Any]]] = {}

    def load(self, name: str, precision: str = "32") -> tuple[VideoSegmenter, dict[str, Any]]:
        """Return a network prepared for a precision, and the settings that it is run with."""
        with self._loading:
            if (name, precision) not in self._loaded:
                if precision != "32" and find_bundle(self.paths[name]):
                    raise ConfigError(f"{name} is a bundle; it runs with precision 32 only")
                network, trained = load_network(self.paths[name], trust=self._trust)
                settings = self._settings_of(trained, network)
                network = network.to(self.device)
                network = prepare_network(network, settings["image_size"], precision)
                self._loaded[name, precision] = network, settings
            return self._loaded[name, precision]

    def frames(self, source: FileSource, options: Options) -> Batches:
        """Return the frames of a clip or video as the network takes them."""
        _, settings = self.load(options.model, options.precision)
        reader = FrameReader(settings["image_size"], settings["decode"])
        return load([source], reader, LOOP)

    def segmenter(self, options: Options) -> StreamSegmenter:
        """Return a segmenter for one run."""
        network, settings = self.load(options.model, options.precision)
        picked = {"max_frames": options.max_frames, "every": options.every}
        video = {name: picked.get(name, value) for name, value in settings["video"].items()}
        return make_segmenter(network, {**settings, "video": video}, options.precision)


def find_checkpoints(given: Sequence[str]) -> dict[str, Path]:
    """Return checkpoint files by name: the file's, after those of its folders where two share it.

    Given are files, folders of them, or names of shipped weights.
    """
    found: dict[str, Path] = {}
    for path in map(Path, given):
        if path.is_dir() and find_bundle(path) is None:
            files = sorted(p for p in visible(path) if p.suffix in CHECKPOINT_SUFFIXES)
        else:
            files = [find_network(path)]
        if not files:
            wanted = ", ".join(CHECKPOINT_SUFFIXES)
            raise WeightsError(f"ckpt: no checkpoint in {path}; wanted a file with {wanted}")
        for file in files:
            # A bundle has the name of its folder.
            named = file.parent if file.name == ABOUT else file
            name, folders = named.stem, list(named.absolute().parents)
            while name in found and folders:  # best.ckpt of several runs
                name = f"{folders.pop(0).name}/{name}"
            found[name] = file
    if not found:
        raise ConfigError("no model; give ckpt=best.ckpt, or a list or folder of checkpoints")
    return found
