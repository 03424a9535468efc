"""Speed and memory of parts, whole frames and training steps, against the released way.

python -m sali.benchmark backbone=pvt_v2_b5 groups=[parts,frames]
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sali.benchmarks.frames import measure_frames
from sali.benchmarks.growth import measure_growth
from sali.benchmarks.loader import measure_loaders
from sali.benchmarks.machine import describe_machine
from sali.benchmarks.parts import measure_parts
from sali.benchmarks.report import markdown, write_report
from sali.benchmarks.setup import Setup, Variant
from sali.benchmarks.training import Training, TrainingVariant, measure_training
from sali.build import network_options, pick_device
from sali.cli import command
from sali.config import build, check_config
from sali.data.datamodule import ClipData
from sali.errors import ConfigError
from sali.models.sali.network import check_side
from sali.run.record import provenance

log = logging.getLogger(__name__)

Values = dict[str, Any]


def _parts(setup: Setup, values: Values) -> Values:
    return measure_parts(setup, _variants(values), **values["parts"])


def _frames(setup: Setup, values: Values) -> Values:
    return measure_frames(setup, _variants(values), **values["frames"])


def _growth(setup: Setup, values: Values) -> Values:
    return measure_growth(setup, _variants(values)[values["growth_variant"]], **values["growth"])


def _training(setup: Setup, values: Values) -> Values:
    variants = {
        name: TrainingVariant(**options) for name, options in values["training_variants"].items()
    }
    return measure_training(
        setup, Training(**values["training"]), variants, **values["training_steps"]
    )


def _loader(setup: Setup, values: Values) -> Values:
    def make(num_workers: int, cache: str | None) -> ClipData:
        return build(values["data"], num_workers=num_workers, cache=cache)

    return {"tables": {"training samples": measure_loaders(make, **values["loader"])}}


def _variants(values: Values) -> dict[str, Variant]:
    return {name: Variant(**options) for name, options in values["variants"].items()}


GROUPS: dict[str, Callable[[Setup, Values], Values]] = {
    "parts": _parts,
    "frames": _frames,
    "growth": _growth,
    "training": _training,
    "loader": _loader,
}
"""What can be measured, by the name that `groups` takes."""


def build_setup(cfg: DictConfig) -> Setup:
    """What is measured.

    Raises:
        ConfigError: a network that the released way cannot be computed with, or a size that does
            not fit.
    """
    if not (cfg.memory.enabled and cfg.align.kernel and cfg.compat.fusion == "released"):
        raise ConfigError(
            "the benchmark compares with the released way, which needs memory.enabled=true, an "
            "align.kernel and compat.fusion=released"
        )
    if cfg.num_frames < 2:
        raise ConfigError(f"num_frames is {cfg.num_frames}; a frame and a neighbor make 2")
    try:
        for side in (cfg.image_size, *cfg.growth.image_sizes):
            check_side(side)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Setup(
        network=network_options(cfg),
        weights=cfg.backbone.weights if cfg.pretrained else None,
        image_size=cfg.image_size,
        max_frames=cfg.memory.max_frames,
        every=cfg.memory.every,
        eviction=cfg.memory.eviction,
        neighbor=cfg.compat.neighbor,
        frame_height=cfg.frame_height,
        frame_width=cfg.frame_width,
        num_frames=cfg.num_frames,
        memory_noise=cfg.memory_noise,
        seed=cfg.seed,
        device=str(pick_device(cfg.device)),
        threads=cfg.threads,
    )


def benchmark(cfg: DictConfig) -> dict[str, Any]:
    """Measure the groups that the configuration names.

    Returns:
        {"run", "machine", "setup", "groups": {group: {"timings", "tables", "curves",
        "checks"}}}; each group has those of them that it measures.
    """
    check_config(cfg, "benchmark")
    unknown = sorted(set(cfg.groups) - set(GROUPS))
    if unknown:
        raise ConfigError(f"groups: unknown {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    setup = build_setup(cfg)
    values: Values = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    if cfg.growth_variant not in values["variants"]:
        raise ConfigError(
            f"growth_variant is {cfg.growth_variant!r}; variants are {', '.join(cfg.variants)}"
        )
    machine = describe_machine(setup.start())
    groups = {}
    for name in cfg.groups:
        log.info("measuring %s (%s)", name, ", ".join(cfg.groups))
        start = time.perf_counter()
        groups[name] = GROUPS[name](setup, values)
        log.info("%s measured in %.0f s", name, time.perf_counter() - start)
    return {
        "run": provenance(seed=cfg.seed, device=setup.device),
        "machine": machine,
        "setup": asdict(setup),
        "groups": groups,
    }


@command("benchmark")
def main(cfg: DictConfig) -> None:
    """Hydra's shell round ``benchmark``."""
    results = benchmark(cfg)
    output = Path(cfg.output)
    write_report(results, output)
    log.info("%s\nresults: %s", markdown(results), output)


if __name__ == "__main__":
    main()
