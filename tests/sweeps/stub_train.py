"""The training command, its sweeps running `stub_job` in place of a training."""

from omegaconf import DictConfig

from sali.cli import command
from sali.sweeps import is_sweep, run_job


@command("train")
def main(cfg: DictConfig) -> float | None:
    assert is_sweep()
    return run_job("stub_job", cfg)


if __name__ == "__main__":
    main()
