"""From a composed configuration to the things of a run."""

import logging
from typing import Any

import torch
from omegaconf import DictConfig

from sali.config import build
from sali.errors import ConfigError
from sali.metrics.clinical import ClinicalRules
from sali.models.sali.network import SALI, check_side
from sali.models.weights import load_backbone, start_from
from sali.run.processes import shard
from sali.streaming import StreamSegmenter
from sali.task import SegmentationTask

log = logging.getLogger(__name__)


def network_options(cfg: DictConfig) -> dict[str, Any]:
    """Arguments of ``SALI`` as plain values."""
    return {
        "backbone": cfg.backbone.name,
        "drop_path_rate": cfg.backbone.drop_path_rate,
        "channels": cfg.channels,
        "long_term": cfg.memory.enabled,
        "key_channels": cfg.memory.key_channels,
        "value_channels": cfg.memory.value_channels,
        "top_k": cfg.memory.top_k,
        "align_kernel": cfg.align.kernel,
        "offset_groups": cfg.align.offset_groups,
        "fusion": cfg.compat.fusion,
    }


def streaming_options(cfg: DictConfig) -> dict[str, Any]:
    """Arguments of ``StreamSegmenter`` as plain values."""
    return {
        "image_size": cfg.data.image_size,
        "max_frames": cfg.memory.max_frames,
        "every": cfg.memory.every,
        "eviction": cfg.memory.eviction,
        "neighbor": cfg.data.neighbor,
    }


def prediction_settings(cfg: DictConfig, trained: dict[str, Any]) -> dict[str, Any]:
    """How a trained network is run.

    Each setting is the command line's, else that of ``compat``, else the checkpoint's
    (``trained``), else that under ``fallback``.
    """
    compat = cfg.get("compat") or {}
    told = {
        "image_size": cfg.data.image_size,
        "max_frames": cfg.memory.max_frames,
        "every": cfg.memory.every,
        "maps": cfg.maps,
    }
    from_training = {**trained, **trained.get("streaming", {})}
    chosen = {}
    for name, fallback in cfg.fallback.items():
        options = (told.get(name), compat.get(name), from_training.get(name), fallback)
        chosen[name] = next(value for value in options if value is not None)
    return chosen


def build_network(cfg: DictConfig) -> SALI:
    """The network with its starting weights."""
    try:
        check_side(cfg.data.image_size)
        network = SALI(**network_options(cfg))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if cfg.init_ckpt:
        start_from(network, cfg.init_ckpt)
    elif cfg.backbone.weights:
        load_backbone(network.backbone, cfg.backbone.weights)
    else:
        log.warning("backbone.weights is null: the backbone starts from random weights")
    if cfg.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network


def clinical_rules(cfg: DictConfig) -> ClinicalRules:
    """Rules of the clinical figures."""
    try:
        return ClinicalRules(**cfg.clinical)
    except ValueError as error:
        raise ConfigError(f"clinical: {error}") from error


def build_task(cfg: DictConfig, network: SALI) -> SegmentationTask:
    """The Lightning task round a network."""
    try:  # refuse now what validation would refuse after an epoch
        StreamSegmenter(network, **streaming_options(cfg))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return SegmentationTask(
        network=network,
        loss=build(cfg.loss),
        optimizer=build(cfg.optimizer),
        scheduler=build(cfg.scheduler),
        streaming=streaming_options(cfg),
        maps=cfg.compat.maps,
        context_gradient=cfg.context_gradient,
        backbone_lr_ratio=cfg.backbone_lr_ratio,
        weight_decay=cfg.weight_decay,
        network_options=network_options(cfg),
        clinical=clinical_rules(cfg),
        decode=cfg.data.decode,
    )


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA, then MPS, then the CPU.

    Processes that torchrun started on one machine take its GPUs in turn.

    Raises:
        ConfigError: a device that this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", shard()[0] % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not to be had here: {error}") from error
    return torch.device(name)
