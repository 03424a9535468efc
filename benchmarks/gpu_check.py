"""Whether a GPU computes what a CPU computes, and how fast: `make gpu-check`.

Everything is generated or in the checkout; no network is needed. A check that cannot run here is
skipped with its reason, one that fails does not stop the others. The exit code is 1 if one failed.

python -m benchmarks.gpu_check
python -m benchmarks.gpu_check device=cuda:1 checks=[parts,read] precisions=[bf16]
"""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from benchmarks import gpu_parts, gpu_uses
from benchmarks.gpu_parts import Check, CheckError, Figures, SkippedError, Values
from benchmarks.setup import Setup, describe_machine
from sali.build import model_node, pick_device
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

CHECKS: dict[str, Callable[[Setup, Values], dict[str, Check]]] = {
    "parts": gpu_parts.part_checks,
    "stream": gpu_parts.stream_checks,
    "read": gpu_parts.read_checks,
    "alignment": gpu_parts.alignment_checks,
    "training": gpu_uses.training_checks,
    "compile": gpu_uses.compile_checks,
    "processes": gpu_uses.process_checks,
    "speed": gpu_uses.speed_checks,
    "bundle": gpu_uses.bundle_checks,
}
"""What can be checked, by the name that `checks` takes: functions that make the rows."""


@dataclass(frozen=True)
class Row:
    """How one check ended: `result`, the reason unless it is "ok", and what was measured."""

    check: str
    result: str
    reason: str
    figures: Figures
    seconds: float


def check_gpu(cfg: DictConfig) -> dict[str, Any]:
    """Run the checks that the configuration names.

    Returns:
        {"run", "machine", "rows"}, see `Row`.

    Raises:
        ConfigError: An unknown check, precision or device.
    """
    check_config(cfg, CONFIG)
    known = {"checks": list(CHECKS), "precisions": [*PRECISIONS, "tf32"]}
    for key, names in known.items():
        if unknown := sorted(set(map(str, cfg[key])) - set(names)):
            raise ConfigError(f"{key}: got {', '.join(unknown)}, wanted some of {', '.join(names)}")
    setup = Setup(
        model=model_node(cfg),
        pretrained=False,
        device=str(pick_device(cfg.device)),
        **{name: cfg[name] for name in ("image_size", "frame_height", "frame_width", "num_frames")},
        **{name: cfg[name] for name in ("memory_noise", "seed", "threads")},
    )
    values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    rows = []
    for name in values["checks"]:
        for row, check in CHECKS[name](setup, values).items():
            rows.append(_run(row, check, setup.start()))
            log.info("%s: %s %s", row, rows[-1].result, rows[-1].reason)
    return {
        "run": provenance(seed=setup.seed, device=setup.device),
        "machine": describe_machine(torch.device(setup.device)),
        "rows": [asdict(row) for row in rows],
    }


def _run(name: str, check: Check, device: torch.device) -> Row:
    figures: Figures = {}
    result, reason, start = OK, "", time.perf_counter()
    try:
        figures = check()
    except SkippedError as why:
        result, reason = SKIPPED, str(why)
    except CheckError as why:
        result, reason, figures = FAILED, str(why), why.figures
    except Exception as error:  # whatever a driver or a kernel says: the other checks still run
        log.debug("%s", name, exc_info=True)
        first = (str(error).strip() or "no message").splitlines()[0]
        result, reason = FAILED, f"{type(error).__name__}: {first}"
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return Row(name, result, reason, figures, time.perf_counter() - start)


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
