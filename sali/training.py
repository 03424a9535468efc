"""A training and the test of its checkpoint: the work of `python -m sali.train`."""

import logging
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from sali.build import build_network, build_task, clinical_rules, operating_point
from sali.callbacks import OnTested, log_scores
from sali.config import build
from sali.data.clip_tables import write_runs
from sali.data.datamodule import ClipData
from sali.data.datasets import lost_worker
from sali.data.index import Clip, require_masks
from sali.data.split import HELD_OUT
from sali.errors import ConfigError, DataError
from sali.evaluate import build_metrics
from sali.evaluation import Settings, evaluate_clips
from sali.evaluation.inputs import ClipMaps
from sali.fit_operating_point import fit_on_maps, has_polyp_free_frame
from sali.models.checkpoint import read_checkpoint
from sali.models.contract import VideoSegmenter
from sali.prediction import Options, predict, write_manifest
from sali.prediction.result import is_own
from sali.prediction.writers.pictures import map_pictures
from sali.report.options import ReportOptions
from sali.report.page import report_evaluation, reported
from sali.run.folder import claimed, compared, refuse_other_resume
from sali.run.io import write_json
from sali.run.loggers import finished, forget_wandb_run
from sali.run.preemption import stopping_at_once
from sali.run.processes import is_first, meeting_point
from sali.run.record import provenance, tracked
from sali.run.state import last_checkpoint
from sali.streaming import prepare_network
from sali.task import MONITOR

log = logging.getLogger(__name__)

# What Lightning tells everyone and nobody can act on: an advert, and a call of its own.
logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
    lambda record: "litlogger" not in record.getMessage()
)
logging.getLogger("gcsfs").setLevel(logging.WARNING)  # Lightning imports it where it is installed
warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
# Lightning writes its lines itself; where others write all lines, as in Hydra's commands, they
# would come twice.
for _handler in logging.getLogger("lightning").handlers:
    _handler.addFilter(lambda record: not logging.getLogger().hasHandlers())

MAPS = "maps"
HIDDEN = ".held_out"
"""Folder for the maps that the operating point is fitted on."""
TEST_PRECISION = "32"


def checkpoint_to_resume(cfg: DictConfig, output: Path) -> str | None:
    """Return the path of `ckpt_path`; of "auto" the last one of the run's folder, if any."""
    if cfg.ckpt_path != "auto":
        if cfg.ckpt_path and not Path(cfg.ckpt_path).is_file():
            raise ConfigError(f"ckpt_path: no checkpoint at {cfg.ckpt_path}")
        return cfg.ckpt_path or None
    last = last_checkpoint(output)
    return str(last) if last else None


def run_training(cfg: DictConfig) -> dict[str, Any]:
    """Run one training and its test; see `sali.train.train`."""
    if cfg.trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={cfg.trainer.accelerator}: PyTorch {torch.__version__} finds no "
            "GPU on this machine; train with trainer=cpu, or install PyTorch for your CUDA version"
        )
    if cfg.test_checkpoint not in ("best", "last"):
        raise ConfigError(f"test_checkpoint: got {cfg.test_checkpoint!r}, wanted 'best' or 'last'")
    output = Path(cfg.paths.output_dir)
    loggers: list[Any] = []
    report = ReportOptions(**OmegaConf.to_container(cfg.report, resolve=True))  # type: ignore[arg-type]
    own: Any = OmegaConf.to_container(cfg, resolve=False)
    maps = output / MAPS
    if cfg.save_maps and maps.exists() and not is_own(maps):
        raise ConfigError(
            f"save_maps=true would replace {maps}, which holds other files than maps of sali; move "
            "it away, or choose another hydra.run.dir"
        )
    with claimed(output, own), reported(output, report), finished(loggers), tracked(output):
        return _train(cfg, own, output, loggers, report)


def _train(
    cfg: DictConfig,
    own: dict[str, Any],
    output: Path,
    loggers: list[Any],
    report: ReportOptions,
) -> dict[str, Any]:
    """Train and test; `own` is the configuration as plain values, unresolved."""
    resumed = checkpoint_to_resume(cfg, output)
    if resumed is None:
        forget_wandb_run(output)
    else:
        refuse_other_resume(Path(resumed), own)
    loggers += [build(logger) for logger in cfg.logger.values() if logger]
    data: ClipData = build(cfg.data)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data.index()
    tested = _tested(data.test_clips, cfg.limit_test_clips, data.sparse_masks)
    if is_first():
        data.check_headers(tested)
    metrics = build_metrics(cfg.get("metrics"))
    rules, name = clinical_rules(cfg), str(cfg.name)
    settings = Settings(
        protocol="both", name=name, clinical=rules, metrics=metrics, **cfg.evaluation
    )
    if data.sparse_masks and not all(mask for clip in tested for mask in clip.masks):
        log.warning("test clips are annotated in part: scores of the clinical protocol only")
        settings = replace(settings, protocol="clinical", sparse_masks=True)
    if data.corruption is not None:
        settings = replace(settings, runs=data.corruption.table(tested))
    network = build_network(cfg)
    data.roles = network.roles
    task = build_task(cfg, network)

    callbacks = [build(c) for c in cfg.callbacks.values() if c]
    trainer: L.Trainer = build(cfg.trainer, callbacks=callbacks, logger=loggers or False)
    if trainer.is_global_zero:
        device = str(trainer.strategy.root_device)
        record = provenance(
            seed=cfg.seed,
            device=device,
            num_processes=trainer.world_size,
            resumed_from=resumed,
            data=data.provenance(),
            config=compared(own),
        )
        write_json(output / "run.json", record)
    config = OmegaConf.to_container(cfg, resolve=True)
    for logger in loggers:
        logger.log_hyperparams(config)

    _fit(trainer, task, data, resumed)
    best = trainer.checkpoint_callback
    assert isinstance(best, ModelCheckpoint)
    if best.best_model_score is None:
        raise ConfigError("no epoch was validated, so there is no best checkpoint to test")
    log.info("best %s: %.4f", MONITOR, best.best_model_score)

    facts = {"checkpoint": cfg.test_checkpoint, "best": {MONITOR: float(best.best_model_score)}}
    with stopping_at_once(output):
        meet = meeting_point()
        # A folder of its own unless the maps are kept: nothing else in the run is touched.
        maps = output / (MAPS if cfg.save_maps else ".test_maps")
        if trainer.is_global_zero:
            shutil.rmtree(maps, ignore_errors=True)  # of an earlier test in the same folder
        meet()
        checkpoint = output / "checkpoints" / f"{cfg.test_checkpoint}.ckpt"
        held_out = fitted_on(cfg, data)
        sources = [*map(_source, tested), *held_out]
        _predict_test(cfg, network, sources, checkpoint, trainer, maps)
        meet()
        if trainer.is_global_zero:
            if held_out:
                _fit_point(cfg, held_out, checkpoint, maps)
            stored = read_checkpoint(checkpoint).settings.get("operating_point")
            if stored is not None:
                point = operating_point("checkpoint", {"operating_point": stored})
                write_manifest(maps, point, precision=TEST_PRECISION)
            trees = {str(settings.name): maps}
            if settings.runs is not None:
                write_runs(output / "bad_runs.csv", settings.runs)
            done = evaluate_clips(tested, trees, output, settings, facts)
            report_evaluation(done, report, with_page=False)
            log_scores(trainer, done.metrics)
            for callback in callbacks:
                if isinstance(callback, OnTested):
                    callback.on_tested(trainer, done)
            facts = done.metrics
            if not cfg.save_maps:
                shutil.rmtree(maps)
            log.info("results: %s", output)
        meet()
    return facts


def _fit(trainer: L.Trainer, task: L.LightningModule, data: ClipData, resumed: str | None) -> None:
    """Train.

    Raises:
        ConfigError: No epoch would be validated.
        DataError: A process that reads ahead died.
        KeyboardInterrupt: Ctrl-C, which Lightning turns into an exit.
    """
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if trainer.limit_val_batches == 0 or (every and epochs and 0 < epochs < every):
        raise ConfigError(
            f"got trainer.limit_val_batches={trainer.limit_val_batches}, "
            f"check_val_every_n_epoch={every} and max_epochs={epochs}: nothing would be validated, "
            "so no checkpoint could be chosen and tested; validate at least one epoch"
        )
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, data, ckpt_path=resumed, weights_only=True)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            if handler is not None:  # None: it was not set from Python
                signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from error
        raise
    except (RuntimeError, OSError) as error:
        why = lost_worker(error, "data.")
        if why is None:
            raise
        raise DataError(why) from error


def _tested(test_clips: dict[str, list[Clip]], limit: int | None, sparse: bool) -> list[Clip]:
    """Return the clips of the test, each with the subset that it is tested in, or refuse them."""
    if not test_clips:
        raise DataError("data.test_subsets is empty; name at least one subset to test on")
    for subset, clips in test_clips.items():
        twice = [name for name, number in Counter(c.name for c in clips).items() if number > 1]
        if twice:
            raise DataError(f"{subset}: got two clips named {twice[0]}, wanted a name for each")
    clips = [replace(clip, subset=name) for name, own in test_clips.items() for clip in own[:limit]]
    require_masks(clips, sparse)
    return clips


def fitted_on(cfg: DictConfig, data: ClipData) -> list[Clip]:
    """Return the held-out clips that the operating point is fitted on."""
    if cfg.operating_point.false_alarm_rate is None:
        return []
    if cfg.compat.maps != "probability":
        why = f"maps are written as {cfg.compat.maps}, not as probabilities"
    elif data.corruption is not None:
        why = "data.corruption makes held-out frames bad too"
    elif data.selection != HELD_OUT or not has_polyp_free_frame(data.val_clips):
        why = "no held-out case has a frame without a polyp"
    else:
        return [_source(clip, f"{HIDDEN}/") for clip in data.val_clips]
    log.info("no operating point is fitted: %s", why)
    return []


def _source(clip: Clip, folder: str = "") -> Clip:
    """Return a clip whose maps are written to `<folder><subset>/<clip>`."""
    return replace(clip, name=f"{folder}{clip.subset}/{clip.name}")


def _fit_point(cfg: DictConfig, clips: Sequence[Clip], checkpoint: Path, maps: Path) -> None:
    """Fit the operating point on the maps of held-out clips, store it, and remove these maps."""
    made = [ClipMaps("held out", one, maps / one.name, (True,) * len(one)) for one in clips]
    fit_on_maps(checkpoint, made, cfg.operating_point, cfg.clinical.detection_iou, TEST_PRECISION)
    shutil.rmtree(maps / HIDDEN)


def _predict_test(
    cfg: DictConfig,
    network: VideoSegmenter,
    sources: Sequence[Clip],
    path: Path,
    trainer: L.Trainer,
    maps: Path,
) -> None:
    """Write maps as `<maps>/<source>/<frame>.png`; every process those of its own clips.

    In float32 whatever the training's precision, as predict does by default: an operating point
    that was fitted on maps in bfloat16 does not keep its rate of false alarms in float32.
    """
    checkpoint = read_checkpoint(path)
    network.load_state_dict(checkpoint.state)
    options = Options(
        precision=TEST_PRECISION,
        num_workers=cfg.data.num_workers,
        prefetch_factor=cfg.data.prefetch_factor,
        quiet=not trainer.is_global_zero,
        corruption=trainer.datamodule.corruption,  # type: ignore[attr-defined]
    )
    settings = {**checkpoint.settings, **checkpoint.settings["streaming"], "video": {}}
    writers = [map_pictures(maps, settings["maps"])]
    network = prepare_network(
        network.float().to(trainer.strategy.root_device),
        settings["image_size"],
        options.precision,
    )
    predict(sources[trainer.global_rank :: trainer.world_size], network, settings, writers, options)
