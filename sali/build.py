"""From a composed configuration to the things of a run."""

import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from sali.config import build
from sali.errors import ConfigError
from sali.metrics.clinical import ClinicalRules
from sali.metrics.operating_point import OperatingPoint
from sali.models.checkpoint import describe, start_from
from sali.models.contract import VideoSegmenter
from sali.models.nodes import instantiate
from sali.ops import use_fast_depthwise
from sali.run.processes import shard

if TYPE_CHECKING:
    from sali.task import SegmentationTask

log = logging.getLogger(__name__)


def model_node(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved `model` node, as checkpoints hold it."""
    return dict(OmegaConf.to_container(cfg.model, resolve=True))  # type: ignore[arg-type]


def build_network(cfg: DictConfig) -> VideoSegmenter:
    """Return the network with its starting weights."""
    try:
        network = instantiate(model_node(cfg), trust=None)
        if not isinstance(network, VideoSegmenter):
            raise ConfigError(
                f"model: got a {type(network).__name__}, wanted a subclass of VideoSegmenter; "
                "model=image makes one of a network of single images"
            )
        network.check_image_size(cfg.data.image_size)
    except ConfigError as error:
        raise ConfigError(f"model: {error}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if cfg.init_ckpt:
        start_from(network, cfg.init_ckpt)
    elif not network.load_pretrained():
        log.warning("no weights are configured: the network starts from random weights")
    use_fast_depthwise(network)
    if cfg.channels_last:
        network.to(memory_format=torch.channels_last)
    return network


def prediction_settings(
    cfg: DictConfig, trained: dict[str, Any], network: VideoSegmenter
) -> dict[str, Any]:
    """Return how a trained network is run: settings of a checkpoint, and "video" settings.

    Each setting is the command line's, else that of `compat`, else the checkpoint's (`trained`),
    else that under `fallback`.

    Raises:
        ConfigError: A setting of the memory that the network does not have.
    """
    compat = cfg.get("compat") or {}
    given = {"image_size": cfg.data.image_size, "maps": cfg.maps, "smoothing": cfg.smoothing}
    from_training = {**trained, **trained.get("streaming", {})}
    chosen = {}
    for name, fallback in cfg.fallback.items():
        options = (given.get(name), compat.get(name), from_training.get(name), fallback)
        chosen[name] = next(value for value in options if value is not None)
    known = network.video_settings
    memory = {name: value for name, value in cfg.memory.items() if value is not None}
    if unknown := sorted(set(memory) - set(known)):
        raise ConfigError(
            f"memory.{unknown[0]}: the network of this checkpoint has no such setting; it has "
            f"{', '.join(known) or 'none'}"
        )
    of_compat = {name: compat[name] for name in known if compat.get(name) is not None}
    return {**chosen, "video": {**known, **of_compat, **memory}}


def operating_point(
    threshold: str | float, trained: Mapping[str, Any], precision: str = "32"
) -> OperatingPoint:
    """Return how a command makes masks of probabilities, and say so in one line.

    The threshold is "checkpoint", or a probability, which then stands alone; `trained` are the
    settings of the checkpoint. A point that was fitted in another precision is warned of.
    """
    try:
        if threshold != "checkpoint":
            return OperatingPoint(float(threshold))
        stored = trained.get("operating_point")
        if stored is None:
            log.info("masks: from probability 0.5 on, as the checkpoint has no operating point")
            return OperatingPoint()
        known = {one.name for one in fields(OperatingPoint)}  # a fit has results beside these
        point = OperatingPoint(**{name: stored[name] for name in known & set(stored)})
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"threshold: got {threshold}, wanted a probability between 0 and 1, or checkpoint "
            f"({error})"
        ) from error
    log.info(
        "masks: from probability %.3f on, regions of at least %.2g %% of the image and of a mean "
        "probability of at least %.3f (the operating point of the checkpoint)",
        point.cut,
        100 * point.min_region,
        point.confidence,
    )
    fitted = stored.get("precision")
    if fitted not in (None, precision):
        log.warning(
            "the operating point was fitted with precision=%s, so with precision=%s it marks more "
            "or fewer polyp-free frames; fit it again (sali.fit_operating_point)",
            fitted,
            precision,
        )
    return point


def clinical_rules(cfg: DictConfig) -> ClinicalRules:
    """Return the rules of the clinical scores."""
    try:
        return ClinicalRules(**cfg.clinical)
    except ValueError as error:
        raise ConfigError(f"clinical: {error}") from error


def build_task(cfg: DictConfig, network: VideoSegmenter) -> "SegmentationTask":
    """Return the Lightning task of a network."""
    from sali.prediction.loop import make_segmenter
    from sali.task import SegmentationTask

    settings = {"image_size": cfg.data.image_size, "smoothing": cfg.smoothing, "video": {}}
    make_segmenter(network, settings)
    return SegmentationTask(
        network=network,
        loss=build(cfg.loss),
        optimizer=build(cfg.optimizer),
        scheduler=build(cfg.scheduler),
        about=describe(
            model_node(cfg), cfg.data.image_size, cfg.data.decode, cfg.compat.maps, cfg.smoothing
        ),
        pretrained_lr_ratio=cfg.backbone_lr_ratio,
        weight_decay=cfg.weight_decay,
    )


def pick_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is CUDA, then MPS, then the CPU.

    Processes that torchrun started on one machine take its GPUs in turn.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", shard()[0] % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not available on this machine: {error}") from error
    return torch.device(name)
