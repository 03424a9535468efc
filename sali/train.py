"""Train, keep the best and the last checkpoint, test the best.

python -m sali.train experiment=seen_easy data.root=/data/SUN-SEG
"""

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from sali.build import build_network, build_task
from sali.callbacks import SaveMaps, SaveOverlays
from sali.cli import command
from sali.config import build, check_config
from sali.data.datamodule import ClipData
from sali.errors import ConfigError
from sali.models.weights import read_file
from sali.report import ReportOptions, reported
from sali.run.checkpoints import last_checkpoint
from sali.run.io import write_json
from sali.run.loggers import finished, forget_wandb_run
from sali.run.record import provenance, tracked
from sali.sweeps import is_sweep, run_job
from sali.task import MONITOR

log = logging.getLogger(__name__)

TOLD = ("dice_max", "dice_mean", "s_measure")
PROTOCOL = "both"


def checkpoint_to_resume(cfg: DictConfig, output: Path) -> str | None:
    """Path of ``ckpt_path``; "auto" is the last one of the run's folder, if there is one."""
    if cfg.ckpt_path != "auto":
        if cfg.ckpt_path and not Path(cfg.ckpt_path).is_file():
            raise ConfigError(f"ckpt_path: no checkpoint at {cfg.ckpt_path}")
        return cfg.ckpt_path
    last = last_checkpoint(output)
    return str(last) if last else None


def train(cfg: DictConfig) -> dict[str, Any]:
    """Run one training and its test.

    Returns:
        {"best": best held-out score, "subsets": ..., "clips": ...}.

    Raises:
        UserError: anything in the configuration, the data or the weights that does not fit.
    """
    check_config(cfg, "train")
    output = Path(cfg.paths.output_dir)
    loggers: list[Any] = []
    report = ReportOptions.from_config(OmegaConf.to_container(cfg.report, resolve=True))  # type: ignore[arg-type]
    with reported(output, report), finished(loggers), tracked(output):
        return _train(cfg, output, loggers)


def _train(cfg: DictConfig, output: Path, loggers: list[Any]) -> dict[str, Any]:
    resumed = checkpoint_to_resume(cfg, output)
    if resumed is None:
        forget_wandb_run(output)
    loggers += [build(logger) for logger in cfg.logger.values() if logger]
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data: ClipData = build(cfg.data)
    data.index()
    network = build_network(cfg)
    data.roles = network.roles
    task = build_task(cfg, network)

    callbacks = [build(c) for c in cfg.callbacks.values() if c]
    if cfg.save_maps:
        callbacks.append(SaveMaps(output / "maps", cfg.compat.maps))
    if cfg.overlays_per_subset:
        callbacks.append(SaveOverlays(output / "figures", cfg.overlays_per_subset))
    trainer: L.Trainer = build(cfg.trainer, callbacks=callbacks, logger=loggers or False)

    data.check_processes(trainer.world_size)
    if trainer.is_global_zero:
        device = str(trainer.strategy.root_device)
        record = provenance(
            seed=cfg.seed,
            device=device,
            num_processes=trainer.world_size,
            resumed_from=resumed,
            data=data.provenance(),
        )
        write_json(output / "run.json", record)
    config = OmegaConf.to_container(cfg, resolve=True)
    for logger in loggers:
        logger.log_hyperparams(config)

    trainer.fit(task, data, ckpt_path=resumed, weights_only=True)
    best = trainer.checkpoint_callback
    assert isinstance(best, ModelCheckpoint)
    if best.best_model_score is None:
        raise ConfigError("no epoch was validated, so there is no best checkpoint to test")
    log.info("best %s: %.4f", MONITOR, best.best_model_score)

    # Loaded here and not by the trainer: with a moving average, the trainer would put the weights
    # that were being trained back, and test those.
    tested = output / "checkpoints" / f"{cfg.test_checkpoint}.ckpt"
    task.load_state_dict(read_file(tested)["state_dict"])
    trainer.test(task, data, verbose=False)
    results = {
        "protocol": PROTOCOL,
        "checkpoint": cfg.test_checkpoint,
        "best": {MONITOR: float(best.best_model_score)},
        **task.results,
    }
    if trainer.is_global_zero:
        write_json(output / "metrics.json", results)
        for subset, scores in task.results["subsets"].items():
            means = task.results["frame_means"]["subsets"][subset]
            told = {**{k: scores[k] for k in TOLD if k in scores}, **means}
            log.info("%s: %s", subset, ", ".join(f"{k} {v:.4f}" for k, v in told.items()))
        log.info("results: %s", output)
    return results


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Hydra's shell round ``train``; the objective of a sweep is the best held-out score."""
    if is_sweep():
        return run_job("sali.train", cfg)
    return train(cfg)["best"][MONITOR]


if __name__ == "__main__":
    main()
