"""Checkpoints: what they say about themselves, and the network that they rebuild."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from sali import __version__
from sali.errors import WeightsError
from sali.models.contract import VideoSegmenter
from sali.models.nodes import instantiate
from sali.models.weights import LoadReport, load_into, read_file

log = logging.getLogger(__name__)

FORMAT = 2
"""Of what `describe` returns. Files without one were made before there was a model node."""
PREFIX = "network."
"""Of the network's tensors in the state dict of a training."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of any format, read.

    Attributes:
        path: The file.
        version: Version of sali that wrote it; None if unknown.
        model: Node that rebuilds the network, see `sali.models.nodes`.
        state: The network's tensors.
        settings: {"streaming": {"image_size": ..., "smoothing": ...}, "decode": ..., "maps": ...}
            of the training, and "operating_point" where one was fitted; empty for the released
            file.
    """

    path: Path
    version: str | None
    model: dict[str, Any]
    state: Mapping[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)

    def network(self, trust: Collection[str] = ()) -> VideoSegmenter:
        """Return the network in evaluation mode.

        Args:
            trust: Packages whose code may be run, in addition to those of
                `sali.models.nodes.PACKAGES`.

        Raises:
            WeightsError: A node that does not build, or tensors that do not fit.
        """
        try:
            network = instantiate(self.model, trust)
        except Exception as error:  # whatever the classes that the file names make of its values
            versions = f"made by sali {self.version or 'unknown'}, this is sali {__version__}"
            raise WeightsError(f"{self.path} ({versions}): {error}") from error
        if not isinstance(network, VideoSegmenter):
            raise WeightsError(
                f"{self.path} describes a {type(network).__name__}; wanted a VideoSegmenter"
            )
        report = load_into(network, self.state, str(self.path))
        if not report.complete or report.unexpected:
            raise WeightsError(f"the checkpoint does not fill its own network: {report}")
        return network.eval()


def describe(
    model: Mapping[str, Any], image_size: int, decode: str, maps: str, smoothing: float = 0
) -> dict[str, Any]:
    """Return what a checkpoint says about itself: plain values that rebuild the network.

    `operating_point` is added after the training, see `sali.metrics.operating_point.Fit.content`.
    """
    return {
        "format": FORMAT,
        "version": __version__,
        "model": dict(model),
        "streaming": {"image_size": image_size, "smoothing": smoothing},
        "decode": decode,
        "maps": maps,
    }


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of a training, of any format, or the released SALI file.

    Raises:
        WeightsError: Not such a file, or one of a later format.
    """
    from sali.models.sali.released import (
        is_released,
        model_node,
        released_node,
        rename_released,
        without_former_options,
    )

    path, content = Path(path), read_file(path)
    if is_released(content):
        renamed = rename_released(content)
        return Checkpoint(path, None, released_node(renamed), renamed)
    about, state = content.get("sali"), content.get("state_dict")
    if not isinstance(about, Mapping) or not isinstance(state, Mapping):
        some = ", ".join([str(key) for key in content][:3])
        raise WeightsError(
            f"{path} is neither a checkpoint of sali.train (no 'sali' entry) nor the released SALI "
            f"state dict (no 'membranch.*' tensors); it holds {some}"
        )
    state = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in state.items()
        if str(name).startswith(PREFIX)
    }
    if not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{path} holds other things than tensors as the network's")
    version, file_format = about.get("version"), about.get("format", 1)
    if file_format not in (1, FORMAT):
        raise WeightsError(
            f"{path} has format {file_format}, made by sali {version}; sali {__version__} reads "
            f"formats up to {FORMAT}: update sali"
        )
    try:
        given = about["streaming"]
        streaming = {"image_size": given["image_size"], "smoothing": given.get("smoothing", 0)}
        if file_format == FORMAT:
            model = without_former_options(dict(about["model"]))
        else:
            model = model_node(about["network"], about["streaming"])
        settings = {"streaming": streaming, "decode": about["decode"], "maps": about["maps"]}
        if "operating_point" in about:
            settings["operating_point"] = dict(about["operating_point"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} lacks what a checkpoint says about itself: {error}") from error
    return Checkpoint(path, version, model, state, settings)


def load_network(
    path: str | Path, trust: Collection[str] = ()
) -> tuple[VideoSegmenter, dict[str, Any]]:
    """Return the network of a checkpoint in evaluation mode, and the settings of its training.

    See `read_checkpoint` and `Checkpoint.network`.
    """
    checkpoint = read_checkpoint(path)
    return checkpoint.network(trust), checkpoint.settings


def start_from(network: VideoSegmenter, path: str | Path) -> LoadReport:
    """Fill a network from a checkpoint that may lack whole modules, for two-stage training.

    Raises:
        WeightsError: A module is filled in part only, or the file has tensors that are not used.
    """
    report = load_into(network, read_checkpoint(path).state, str(path))
    loaded_parts = {name.split(".")[0] for name in report.loaded}
    new_parts = {name.split(".")[0] for name in report.missing}
    if report.mismatched or report.unexpected or loaded_parts & new_parts or not loaded_parts:
        raise WeightsError(f"this checkpoint cannot start this network: {report}")
    log.info("trained from scratch: %s", ", ".join(sorted(new_parts)) or "nothing")
    return report
