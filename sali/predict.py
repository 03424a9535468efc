"""Maps for every frame of a source.

python -m sali.predict ckpt=best.ckpt source=/data/clips output=maps
python -m sali.predict ckpt=best.ckpt source=procedure.mp4 output=maps overlay=true
"""

import logging
import sys
from pathlib import Path
from typing import Any

import av
import torch
from omegaconf import DictConfig, OmegaConf

import sali
from sali.build import pick_device, prediction_settings
from sali.cli import command
from sali.config import check_config
from sali.data.index import Clip
from sali.data.video.files import Video
from sali.data.video.live import LiveSettings
from sali.errors import ConfigError
from sali.models.checkpoint import load_network
from sali.prediction import Resumable, Source, Writer, index_source, protect_source
from sali.prediction.jobs import Jobs, fingerprint_file, forget
from sali.prediction.pictures import Maps, OverlayPictures
from sali.prediction.predicting import Options
from sali.prediction.predicting import predict as predict_sources
from sali.prediction.recording import Recordings, check_installed
from sali.prediction.sources import check_streams
from sali.prediction.tables import DetectionTables
from sali.prediction.track_tables import TrackTables
from sali.prediction.videos import OverlayVideos
from sali.run.processes import shard
from sali.run.record import provenance
from sali.streaming.maps import RULES

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it. A live source that is stopped so ends with 0."""


def predict(cfg: DictConfig) -> dict[str, int]:
    """Write the maps of a source.

    A clip's folder appears when all of its maps are written, never half. Under torchrun every
    process takes its share of whole clips. A video whose work was interrupted is taken up.

    Returns:
        {"clips": ..., "frames": ..., "skipped": ...}: how many of each, of this process; of a live
        source also "dropped".

    Raises:
        UserError: anything that does not fit, before or during the work.
    """
    check_config(cfg, "predict")
    if cfg.on_bad_frame not in ("error", "skip"):
        raise ConfigError(f"on_bad_frame {cfg.on_bad_frame!r} is neither 'error' nor 'skip'")
    if not 0 < cfg.threshold < 1:
        raise ConfigError(f"threshold {cfg.threshold} is not a probability between 0 and 1")
    if cfg.recording:
        check_installed()
    live = LiveSettings(**cfg.live)
    sources = index_source(str(cfg.source), cfg.video.max_pixels)
    check_streams(sources, cfg.streams)
    network, trained = load_network(cfg.ckpt, trust=list(cfg.trust))
    settings = prediction_settings(cfg, trained, network)
    if settings["maps"] not in RULES:
        raise ConfigError(f"maps {settings['maps']!r} is not one of {RULES}")
    shown = {**settings, **settings["video"]}
    shown.pop("video")
    log.info("settings: %s", ", ".join(f"{k}={v}" for k, v in shown.items()))
    identity = _identity(cfg, settings)
    writers = _writers(cfg, settings, as_videos=not isinstance(sources[0], Clip))
    for source in sources:
        for writer in writers.values():
            protect_source(source, writer.root)
    rank, num_processes = shard()
    sources = sources[rank::num_processes]
    options = Options(
        device=pick_device(cfg.device),
        precision=str(cfg.precision),
        compile=cfg.compile,
        num_workers=cfg.num_workers,
        prefetch_factor=cfg.prefetch_factor,
        streams=cfg.streams,
        skip_bad=cfg.on_bad_frame == "skip",
        keep_pictures=bool(cfg.overlay or cfg.recording),
        live=live,
    )
    jobs = _jobs(cfg, sources, writers, identity)
    count = predict_sources(sources, network, settings, [*writers.values()], options, jobs)
    log.info("%(frames)d maps of %(clips)d clips, %(skipped)d frames skipped", count)
    for what, writer in writers.items():
        log.info("%s: %s", what, writer.root)
    return count


def _jobs(
    cfg: DictConfig, sources: list[Source], writers: dict[str, Writer], identity: dict[str, Any]
) -> Jobs | None:
    """Of videos, unless the user or a writer does not want it."""
    videos = [source for source in sources if isinstance(source, Video)]
    if not videos:
        return None
    resumable = {name: one for name, one in writers.items() if isinstance(one, Resumable)}
    if len(resumable) < len(writers):
        others = ", ".join(sorted(set(writers) - set(resumable)))
        log.info("%s cannot be taken up after an interruption, so nothing is saved for it", others)
    if not cfg.resume or len(resumable) < len(writers):
        forget(Path(cfg.output), videos)
        return None
    return Jobs(Path(cfg.output), identity, resumable, cfg.video.save_every)


def _identity(cfg: DictConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """All that the results of a video depend on, beside the video itself."""
    own = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(own, dict)
    told = ("overlay", "tables", "threshold", "precision", "compile", "device", "video", "tracks")
    return {
        "checkpoint": fingerprint_file(Path(cfg.ckpt)),
        **settings,
        **{name: own[name] for name in told},
        "versions": {"sali": sali.__version__, "torch": torch.__version__, "av": av.__version__},
    }


def _writers(cfg: DictConfig, settings: dict[str, Any], as_videos: bool) -> dict[str, Writer]:
    output = Path(cfg.output)
    writers: dict[str, Writer] = {"maps": Maps(output, settings["maps"])}
    if cfg.overlay:
        root = output.with_name(f"{output.name}_overlays")
        writers["overlays"] = (
            OverlayVideos(root, cfg.threshold, **cfg.video.overlay)
            if as_videos
            else OverlayPictures(root, cfg.threshold)
        )
    if cfg.tables:
        root = output.with_name(f"{output.name}_tables")
        writers["tables"] = DetectionTables(root, cfg.threshold)
        writers["tracks"] = TrackTables(root, cfg.threshold, **cfg.tracks)
    if cfg.recording:
        root = output.with_name(f"{output.name}_recordings")
        about = {"checkpoint": str(cfg.ckpt), "settings": settings, **provenance()}
        writers["recordings"] = Recordings(root, cfg.threshold, about, dict(cfg.recordings))
    return writers


@command("predict")
def main(cfg: DictConfig) -> None:
    """Hydra's shell round ``predict``."""
    try:
        predict(cfg)
    except KeyboardInterrupt:
        log.warning("interrupted; a video goes on where it was saved with the same command")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
