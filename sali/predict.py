"""Maps for every frame of a source.

python -m sali.predict ckpt=best.ckpt source=/data/clips output=maps
python -m sali.predict ckpt=best.ckpt source=procedure.mp4 output=maps overlay=true
"""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch.utils.data import DataLoader

from sali.build import pick_device
from sali.cli import command
from sali.config import check_config
from sali.data.datasets import FrameReader
from sali.data.video import Video
from sali.errors import ConfigError, FrameError
from sali.models.weights import load_network
from sali.prediction import Result, Source, Writer, index_source, load, protect_source
from sali.prediction.pictures import Maps, OverlayPictures
from sali.prediction.recording import Recordings, check_installed
from sali.prediction.sources import length_of
from sali.prediction.tables import DetectionTables
from sali.prediction.videos import OverlayVideos
from sali.processes import shard
from sali.progress import progress_bar
from sali.run_record import provenance
from sali.streaming import ClipRunner, StreamSegmenter, prepare_network
from sali.streaming.maps import RULES

log = logging.getLogger(__name__)


def settings_for(cfg: DictConfig, trained: dict[str, Any]) -> dict[str, Any]:
    """Each setting from the command line, else from ``compat``, else the checkpoint, else YAML."""
    compat = cfg.get("compat") or {}
    told = {
        "image_size": cfg.data.image_size,
        "max_frames": cfg.memory.max_frames,
        "every": cfg.memory.every,
        "maps": cfg.maps,
    }
    from_training = {**trained, **trained.get("streaming", {})}
    chosen = {}
    for name, fallback in cfg.fallback.items():
        options = (told.get(name), compat.get(name), from_training.get(name), fallback)
        chosen[name] = next(value for value in options if value is not None)
    return chosen


def predict(cfg: DictConfig) -> dict[str, int]:
    """Write the maps of a source.

    A clip's folder appears when all of its maps are written, never half. Under torchrun every
    process takes its share of whole clips.

    Returns:
        {"clips": ..., "frames": ..., "skipped": ...}: how many of each, of this process.

    Raises:
        UserError: anything that does not fit, before or during the work.
    """
    check_config(cfg)
    if cfg.on_bad_frame not in ("error", "skip"):
        raise ConfigError(f"on_bad_frame {cfg.on_bad_frame!r} is neither 'error' nor 'skip'")
    if not 0 < cfg.threshold < 1:
        raise ConfigError(f"threshold {cfg.threshold} is not a probability between 0 and 1")
    if cfg.recording:
        check_installed()
    sources = index_source(str(cfg.source), cfg.video.max_pixels)
    network, trained = load_network(cfg.ckpt)
    settings = settings_for(cfg, trained)
    if settings["maps"] not in RULES:
        raise ConfigError(f"maps {settings['maps']!r} is not one of {RULES}")
    log.info("settings: %s", ", ".join(f"{k}={v}" for k, v in settings.items()))
    about = {"checkpoint": str(cfg.ckpt), "settings": dict(settings), **provenance()}
    writers = _writers(cfg, about, settings.pop("maps"), isinstance(sources[0], Video))
    for source in sources:
        for writer in writers.values():
            protect_source(source, writer.root)
    rank, num_processes = shard()
    sources = sources[rank::num_processes]
    decode, precision = settings.pop("decode"), str(cfg.precision)

    def make_segmenter() -> StreamSegmenter:
        return StreamSegmenter(network, **settings, precision=precision)

    try:
        make_segmenter()
        reader = FrameReader(settings["image_size"], decode)
        loader = load(
            sources,
            reader,
            cfg.streams,
            cfg.num_workers,
            cfg.prefetch_factor,
            cfg.overlay or cfg.recording,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    network = prepare_network(network.to(pick_device(cfg.device)), precision, cfg.compile)
    runner = ClipRunner(make_segmenter)
    count = _run(loader, sources, runner, list(writers.values()), cfg.on_bad_frame == "skip")
    log.info("%(frames)d maps of %(clips)d clips, %(skipped)d frames skipped", count)
    for what, writer in writers.items():
        log.info("%s: %s", what, writer.root)
    return count


def _writers(
    cfg: DictConfig, about: dict[str, Any], maps: str, of_videos: bool
) -> dict[str, Writer]:
    output = Path(cfg.output)
    writers: dict[str, Writer] = {"maps": Maps(output, maps)}
    if cfg.overlay:
        root = output.with_name(f"{output.name}_overlays")
        writers["overlays"] = (
            OverlayVideos(root, cfg.threshold, dict(cfg.video.overlay))
            if of_videos
            else OverlayPictures(root, cfg.threshold)
        )
    if cfg.tables:
        root = output.with_name(f"{output.name}_tables")
        writers["tables"] = DetectionTables(root, cfg.threshold)
    if cfg.recording:
        root = output.with_name(f"{output.name}_recordings")
        writers["recordings"] = Recordings(root, cfg.threshold, about, dict(cfg.recordings))
    return writers


def _run(
    loader: "DataLoader[Any]",
    sources: list[Source],
    runner: ClipRunner,
    writers: list[Writer],
    skip_bad: bool,
) -> dict[str, int]:
    count = {"clips": len(sources), "frames": 0, "skipped": 0}
    lengths = [length_of(source) for source in sources]
    try:
        with progress_bar("frames") as progress:
            bar = progress.add_task("predict", total=sum(lengths) if all(lengths) else None)
            for frames in loader:
                for frame in frames:
                    if frame.error:
                        if not skip_bad and not frame.lost:
                            raise FrameError(f"{frame.error} (on_bad_frame=skip leaves it out)")
                        log.warning("skipped: %s", frame.error)
                        count["skipped"] += max(1, frame.lost)
                for frame, probability, use in runner.push(frames):
                    result = Result(sources[frame.clip], frame, probability, use)
                    for writer in writers:
                        writer.write(result)
                    count["frames"] += 1
                for frame in frames:
                    if frame.is_last:
                        for writer in writers:
                            writer.finish(sources[frame.clip].name)
                progress.advance(bar, len(frames))
    finally:
        for writer in writers:
            writer.discard()
    return count


@command("predict")
def main(cfg: DictConfig) -> None:
    """Hydra's shell round ``predict``."""
    predict(cfg)


if __name__ == "__main__":
    main()
