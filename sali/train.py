"""Train, keep the best and the last checkpoint, test one of them.

python -m sali.train experiment=seen_easy data.root=/data/SUN-SEG
"""

import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sali.cli import INTERRUPTED, command
from sali.config import check_config
from sali.run.processes import started
from sali.sweeps import is_sweep, run_job


def train(cfg: DictConfig) -> dict[str, Any]:
    """Run one training and its test.

    Outside of the command, as in a notebook, the run's folder is `paths.output_dir`, or
    `outputs/<name>/<date>_<time>` of the working directory.

    Returns:
        Content of metrics.json in the first process; in the others "checkpoint" and "best" of it.

    Raises:
        UserError: Anything in the configuration, the data or the weights that does not fit.
    """
    cfg = _with_folder(cfg)
    check_config(cfg, "train")
    from sali.training import run_training  # imports torch and Lightning

    return run_training(cfg)


def _with_folder(cfg: DictConfig) -> DictConfig:
    """Return a configuration whose folder does not need Hydra's command."""
    if HydraConfig.initialized():
        return cfg
    own: Any = OmegaConf.to_container(cfg, resolve=False)
    if own["paths"]["output_dir"] == "${hydra:runtime.output_dir}":
        started.cache_clear()  # a process may train more than once
        own["paths"]["output_dir"] = f"outputs/{own['name']}/{started()}"
    return OmegaConf.create(own)


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Hydra's shell around `train`; the objective of a sweep is the best held-out score."""
    if is_sweep():
        return run_job("sali.train", cfg)
    try:
        (best,) = train(cfg)["best"].values()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    return best


if __name__ == "__main__":
    main()
