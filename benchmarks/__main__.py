"""Speed and memory of parts, whole frames and training steps, against the released way.

python -m benchmarks backbone=pvt_v2_b5 groups=[parts,frames]
python -m benchmarks groups=[] baseline=../other_checkout
"""

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from benchmarks.checkouts import measure_checkouts
from benchmarks.frames import measure_export, measure_frames
from benchmarks.growth import measure_growth
from benchmarks.live import measure_live
from benchmarks.loader import measure_loader
from benchmarks.parts import measure_parts
from benchmarks.released_way import check_network
from benchmarks.report import markdown, write_report
from benchmarks.setup import Setup, Variant, describe_machine
from benchmarks.training import measure_training
from sali.cli import command
from sali.config import build, check_config
from sali.errors import ConfigError
from sali.models.nodes import instantiate
from sali.run.record import provenance

log = logging.getLogger(__name__)

CONFIG = str(Path(__file__).with_name("benchmark"))
Values = dict[str, Any]


def _variants(values: Values) -> dict[str, Variant]:
    return {name: Variant(**options) for name, options in values["variants"].items()}


def _loader(setup: Setup, values: Values) -> Values:
    options, rows = values["loader"], {}
    for cache, count in itertools.product(options["caches"], options["num_workers"]):
        data = build(values["data"], num_workers=count, cache=cache)
        name = f"{count} workers, cache {cache or 'off'}"
        rows[name] = measure_loader(data, options["num_batches"])
    return {"training samples": rows}


def _baseline(setup: Setup, values: Values) -> Values:
    variant = next(iter(_variants(values).values()))
    way = next(iter(values["training_variants"].values()))
    root, options = Path(values["baseline"]), values["baseline_blocks"]
    return measure_checkouts(setup, variant, values["training"], way, root, **options)


GROUPS: dict[str, Callable[[Setup, Values], Values]] = {
    "parts": lambda setup, v: measure_parts(setup, _variants(v), **v["parts"]),
    "frames": lambda setup, v: measure_frames(setup, _variants(v), **v["frames"]),
    "export": lambda setup, v: measure_export(setup, _variants(v), **v["export"]),
    "live": lambda setup, v: measure_live(setup, _variants(v), **v["live"]),
    "growth": lambda setup, v: measure_growth(
        setup, _variants(v)[v["growth_variant"]], **v["growth"]
    ),
    "training": lambda setup, v: measure_training(
        setup, v["training"], v["training_variants"], **v["training_steps"]
    ),
    "loader": _loader,
}
"""What can be measured, by the name that `groups` takes: tables by name; of growth, curves."""


def build_setup(cfg: DictConfig) -> Setup:
    """Return what is measured; refuse what the released way cannot compute."""
    if cfg.num_frames < 2:
        raise ConfigError(f"num_frames: got {cfg.num_frames}, wanted 2: a frame and a neighbor")
    setup = Setup.of(cfg)
    try:
        with torch.device("meta"):  # no weights are needed
            network = instantiate(setup.model, trust=None)
        check_network(network)
        for side in (cfg.image_size, *cfg.growth.image_sizes):
            network.check_image_size(side)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return setup


def benchmark(cfg: DictConfig) -> dict[str, Any]:
    """Measure the groups that the configuration names.

    Returns:
        See `benchmarks.report.Results`.

    Raises:
        ConfigError: Settings that cannot be measured.
    """
    check_config(cfg, CONFIG)
    unknown = sorted(set(cfg.groups) - set(GROUPS))
    if unknown:
        raise ConfigError(f"groups: got {', '.join(unknown)}, wanted some of {', '.join(GROUPS)}")
    if cfg.growth_variant not in cfg.variants:
        raise ConfigError(
            f"growth_variant: got {cfg.growth_variant!r}, wanted one of {', '.join(cfg.variants)}"
        )
    setup = build_setup(cfg)
    values: Values = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    wanted = {name: GROUPS[name] for name in cfg.groups}
    if cfg.baseline is not None:
        wanted["baseline"] = _baseline
    machine = describe_machine(setup.start())
    found = {}
    for name, measure in wanted.items():
        log.info("measuring %s (%s)", name, ", ".join(wanted))
        start = time.perf_counter()
        found[name] = measure(setup, values)
        log.info("%s measured in %.0f s", name, time.perf_counter() - start)
    return {
        "run": provenance(seed=cfg.seed, device=setup.device),
        "machine": machine,
        "setup": asdict(setup),
        "curves": found.pop("growth", {}),
        "tables": found,
    }


@command(CONFIG)
def main(cfg: DictConfig) -> None:
    """Measure, write the results and show the tables."""
    results = benchmark(cfg)
    output = Path(cfg.output)
    write_report(results, output)
    log.info("%s\nresults: %s", markdown(results), output)


if __name__ == "__main__":
    main()
