"""Write the page of a run, an evaluation or a sweep again from the files in its folder.

python -m sali.report run=outputs/seen_easy/2025-01-31_13-05-59
"""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sali.cli import command
from sali.config import check_config
from sali.report.options import ReportOptions

log = logging.getLogger(__name__)


@command("report")
def main(cfg: DictConfig) -> None:
    """Hydra's shell around `write_report`."""
    from sali.report.page import write_report

    check_config(cfg, "report")
    node: dict[str, Any] = OmegaConf.to_container(cfg.report, resolve=True)  # type: ignore[assignment]
    path = write_report(Path(cfg.run), ReportOptions(**node))
    log.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
