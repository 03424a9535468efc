"""The released SALI checkpoint, and checkpoints of before there was a model node.

Both become what `sali.models.weights` reads: a model node and a state dict under our names.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sali.errors import WeightsError
from sali.models.backbone import Backbone
from sali.models.weights import StateDict, original_pvt_to_timm

RELEASED_VARIANTS = [f"pvt_v2_b{i}" for i in (5, 2, 4, 3, 1, 0)]

# Released name -> ours, by prefix; the first rule that matches is used.
_Rule = tuple[str, str | Callable[[re.Match[str]], str]]
_RENAMES: list[_Rule] = [
    (r"^backbone\.feat_net\.rfb([234])_1\.", lambda m: f"reduction.levels.{int(m[1]) - 2}."),
    (r"^backbone\.decoder\.NCD\.", "decoder.coarse."),
    (r"^backbone\.decoder\.RS([345])\.", lambda m: f"decoder.stages.{int(m[1]) - 3}."),
    (r"^membranch\.Key(\d)\.", r"long_term.to_key.\1."),
    (r"^membranch\.Value(\d)\.", r"long_term.to_value.\1."),
    (r"^pcd_align\.", "short_term."),
    (r"^nlnet\.", "fusion."),
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


def is_released(content: Mapping[str, Any]) -> bool:
    """Return whether a file's content is the state dict of the released SALI network."""
    return any(name.removeprefix("module.").startswith("membranch.") for name in content)


def rename_released(state: StateDict) -> dict[str, Tensor]:
    """Return the released state dict under our names; a leading `module.` is dropped.

    Raises:
        WeightsError: A name that no rule knows.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    pvt = {
        name.removeprefix(_PVT_PREFIX): t
        for name, t in plain.items()
        if name.startswith(_PVT_PREFIX)
    }
    renamed = {f"backbone.features.model.{n}": t for n, t in original_pvt_to_timm(pvt).items()}
    for name, tensor in plain.items():
        if name.startswith(_PVT_PREFIX):
            continue
        rule = next((rule for rule in _RENAMES if re.match(rule[0], name)), None)
        if rule is None:
            raise WeightsError(f"tensor {name!r} is not of the released SALI network")
        for old, by in (rule, *_PARTS):
            name = re.sub(old, by, name)
        renamed[name] = tensor
    return renamed


def released_node(state: StateDict) -> dict[str, Any]:
    """Return the model node that fits a renamed released state dict.

    The released file carries no settings: it runs causally and with the corrected eviction unless
    the caller says otherwise, with the memory of the released test script (spec/network.md 4).

    Raises:
        WeightsError: The backbone is none of PVTv2 B0 to B5.
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
    options = {
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
    return model_node(
        options,
        {"max_frames": 35, "every": 5, "eviction": "least_used", "neighbor": "previous"},
    )


def without_former_options(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node of format 2 without `align.probability=false`, an option that is gone.

    A network that was trained with it keeps the option, which is then refused.
    """
    short_term = node.get("short_term")
    if isinstance(short_term, Mapping) and short_term.get("probability") is False:
        short_term = {name: v for name, v in short_term.items() if name != "probability"}
    return {**node, "short_term": short_term} if "short_term" in node else node


def model_node(options: Mapping[str, Any], streaming: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model node of options as checkpoints before format 2 held them.

    Raises:
        WeightsError: One of them is missing.
    """
    package = "sali.models.sali"
    try:
        long_term = bank = short_term = None
        if options["long_term"]:
            names = ("key_channels", "value_channels", "top_k")
            long_term = {
                "_target_": f"{package}.LongTermInteraction",
                "_partial_": True,
                **{name: options[name] for name in names},
            }
            bank = {
                "_target_": f"{package}.MemoryBank",
                "_partial_": True,
                **{name: streaming[name] for name in ("max_frames", "every", "eviction")},
            }
        if options["align_kernel"]:
            short_term = {
                "_target_": f"{package}.ShortTermAlignment",
                "_partial_": True,
                "groups": options["offset_groups"],
                "kernel": options["align_kernel"],
            }
        return {
            "_target_": f"{package}.SALI",
            "backbone": {
                "_target_": "sali.models.backbone.Backbone",
                "name": options["backbone"],
                "drop_path_rate": options["drop_path_rate"],
            },
            "channels": options["channels"],
            "long_term": long_term,
            "short_term": short_term,
            "bank": bank,
            "fusion": options["fusion"],
            "neighbor": streaming["neighbor"],
        }
    except KeyError as error:
        raise WeightsError(f"the checkpoint lacks the network option {error}") from error
