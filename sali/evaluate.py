"""Scores of maps on disk.

python -m sali.evaluate gt=/data/SUN-SEG pred=maps output=results protocol=both
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sali.archive.places import local_copy
from sali.cli import INTERRUPTED, command
from sali.config import build, check_config
from sali.data.clip_tables import read_runs
from sali.errors import ConfigError, UserError
from sali.evaluation import Bootstrap, Settings, run_evaluation
from sali.metrics.clinical import ClinicalRules
from sali.metrics.frame_metric import FrameMetric
from sali.metrics.frame_quality import QualityLimits
from sali.report.options import ReportOptions

_NOT_SETTINGS = ("gt", "pred", "output", "report", "runs")
_PATHS = ("frames", "polyp_free", "attributes")
_GROUPS = {"clinical": ClinicalRules, "quality_limits": QualityLimits, "bootstrap": Bootstrap}


def build_metrics(node: Mapping[str, Any] | None) -> dict[str, FrameMetric]:
    """Return the scores of a `metrics` node; a plain function becomes a `FrameMetric`."""
    found = {name: build(entry) for name, entry in (node or {}).items() if entry}
    try:
        return {k: v if isinstance(v, FrameMetric) else FrameMetric(v) for k, v in found.items()}
    except ValueError as error:
        raise ConfigError(f"metrics: {error}") from error


def settings_from(cfg: DictConfig) -> Settings:
    """Return the settings of a composed configuration."""
    given: dict[str, Any] = dict(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    for name in _NOT_SETTINGS:
        given.pop(name)
    given["metrics"] = build_metrics(cfg.get("metrics"))
    try:
        given |= {name: kind(**given[name]) for name, kind in _GROUPS.items()}
        given |= {name: Path(given[name]) if given[name] else None for name in _PATHS}
        if given["subsets"] is not None:
            given["subsets"] = tuple(given["subsets"])
        return Settings(**given)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Hydra's shell around `evaluate`."""
    from sali.report.page import report_evaluation

    check_config(cfg, "evaluate")
    settings = settings_from(cfg)
    if cfg.runs:
        settings = replace(settings, runs=read_runs(Path(cfg.runs)))
    report = ReportOptions(**OmegaConf.to_container(cfg.report, resolve=True))  # type: ignore[arg-type]
    try:
        with local_copy(str(cfg.gt)) as gt, local_copy(str(cfg.pred)) as pred:
            report_evaluation(run_evaluation(gt, pred, Path(str(cfg.output)), settings), report)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
