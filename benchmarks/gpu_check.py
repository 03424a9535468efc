"""Whether a GPU computes what a CPU computes, and how fast: `make gpu-check`.

Everything is generated or in the checkout; no network is needed. A check that cannot run here is
skipped with its reason, one that fails does not stop the others. The exit code is 1 if one failed.

python -m benchmarks.gpu_check
python -m benchmarks.gpu_check device=cuda:1 checks=[parts,read] precisions=[bf16]
"""

import logging
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from benchmarks import gpu_parts, gpu_uses
from benchmarks.gpu_parts import Check, CheckError, SkippedError, Values, number_format
from benchmarks.setup import Setup, describe_machine
from sali.cli import command
from sali.config import check_config
from sali.errors import ConfigError
from sali.report.table import Cell, Table
from sali.run.io import write_json
from sali.run.record import provenance
from sali.streaming.prepare import PRECISIONS

log = logging.getLogger(__name__)

CONFIG = str(Path(__file__).with_name("gpu_check"))
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
GROUPS = (
    *("parts", "stream", "read", "alignment", "training"),
    *("compile", "processes", "speed", "bundle"),
)
"""What can be checked, by the name that `checks` takes."""


def checks(values: Values) -> Iterator[tuple[str, str, Check, list[str]]]:
    """Yield group, name, function and number formats of every check."""
    every, once = values["precisions"], ["32"]
    yield "parts", "part: alignment", gpu_parts.alignment, every
    yield "parts", "part: fusion", gpu_parts.fusion, every
    yield "parts", "part: memory bank", gpu_parts.bank, once
    yield "stream", "stream: released B5", gpu_parts.stream, every
    yield "read", "memory read against the CPU", gpu_parts.read, once
    for kernel in ("auto", "grid_sample"):
        check = partial(gpu_parts.deformable, kernel=kernel)
        yield "alignment", f"alignment against the CPU, {kernel}", check, once
    yield "training", "training step", gpu_uses.training, every
    yield "compile", "torch.compile", gpu_uses.compiled, once
    yield "processes", "two processes", gpu_uses.two_processes, once
    for backbone in values["speed"]["backbones"]:
        check = partial(gpu_uses.speed, backbone=backbone)
        yield "speed", f"speed: {backbone}", check, every
    yield "bundle", "export bundle", gpu_uses.bundle, once


def check_gpu(cfg: DictConfig) -> dict[str, Any]:
    """Run the checks that the configuration names.

    Returns:
        {"run", "machine", "rows"}; a row has "check", "result", the "reason" unless that is "ok",
        "figures" and "seconds".

    Raises:
        ConfigError: An unknown check, precision or device.
    """
    check_config(cfg, CONFIG)
    for key, names in {"checks": GROUPS, "precisions": [*PRECISIONS, "tf32"]}.items():
        if unknown := sorted(set(map(str, cfg[key])) - set(names)):
            raise ConfigError(f"{key}: got {', '.join(unknown)}, wanted some of {', '.join(names)}")
    setup = Setup.of(cfg, pretrained=False)
    values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    rows = []
    for group, name, check, formats in checks(values):
        for number in formats if group in values["checks"] else ():
            row = _run(partial(check, setup, values[group], number), setup.start(), number)
            rows.append({"check": f"{name}, {number}", **row})
            log.info("%s, %s: %s %s", name, number, row["result"], row["reason"])
    return {
        "run": provenance(seed=setup.seed, device=setup.device),
        "machine": describe_machine(torch.device(setup.device)),
        "rows": rows,
    }


def _run(check: partial[dict[str, float]], device: torch.device, number: str) -> dict[str, Any]:
    """Return how a check ended."""
    figures: dict[str, float] = {}
    result, reason, start = OK, "", time.perf_counter()
    try:
        with number_format(device, number):
            figures = check()
    except SkippedError as why:
        result, reason = SKIPPED, str(why)
    except CheckError as why:
        result, reason, figures = FAILED, str(why), why.figures
    except Exception as error:  # whatever a driver or a kernel says: the other checks still run
        log.debug("a check failed", exc_info=True)
        first = (str(error).strip() or "no message").splitlines()[0]
        result, reason = FAILED, f"{type(error).__name__}: {first}"
    if device.type == "cuda":
        torch.cuda.empty_cache()
    seconds = time.perf_counter() - start
    return {"result": result, "reason": reason, "figures": figures, "seconds": seconds}


def markdown(results: dict[str, Any]) -> str:
    """Return the rows as a table under a line that names the machine."""
    machine = results["machine"]
    cells = []
    for row in results["rows"]:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in row["figures"].items())
        words = "; ".join(text for text in (row["reason"], figures) if text)
        seconds = Cell(f"{row['seconds']:.1f}", is_number=True)
        cells.append([Cell(row["check"]), Cell(row["result"]), seconds, Cell(words)])
    table = Table("Checks", ["check", "result", "seconds", "figures"], cells).to_markdown()
    return (
        f"# Check of a device\n\n{machine['device']}, torch {machine['torch']}, "
        f"{machine['cpu']} ({machine['threads']} threads).\n\n{table}"
    )


@command(CONFIG)
def main(cfg: DictConfig) -> None:
    """Check, write the results and show the table; exit code 1 if a check failed."""
    results = check_gpu(cfg)
    output = Path(cfg.output)
    write_json(output / "gpu_check.json", results)
    (output / "gpu_check.md").write_text(markdown(results))
    log.info("%s\nresults: %s", markdown(results), output)
    failed = [row["check"] for row in results["rows"] if row["result"] == FAILED]
    if failed:
        sys.exit(f"{len(failed)} of {len(results['rows'])} checks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
