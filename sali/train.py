"""Train, keep the best and the last checkpoint, test one of them.

python -m sali.train experiment=seen_easy data.root=/data/SUN-SEG
"""

import sys
from typing import Any

from omegaconf import DictConfig

from sali.cli import INTERRUPTED, command
from sali.config import check_config
from sali.sweeps import is_sweep, run_job


def train(cfg: DictConfig) -> dict[str, Any]:
    """Run one training and its test.

    Returns:
        Content of metrics.json in the first process; in the others "checkpoint" and "best" of it.

    Raises:
        UserError: Anything in the configuration, the data or the weights that does not fit.
    """
    check_config(cfg, "train")
    from sali.training import run_training  # imports torch and Lightning

    return run_training(cfg)


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
