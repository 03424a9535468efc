"""Maps for every frame of a source.

python -m sali.predict ckpt=best.ckpt source=/data/clips output=maps
python -m sali.predict ckpt=best.ckpt source=procedure.mp4 output=maps overlay=true
"""

import hashlib
import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import sali
from sali.cli import INTERRUPTED, command
from sali.config import check_config
from sali.errors import ConfigError
from sali.models.shipped import SAMPLE, is_sample
from sali.run.io import require_writable
from sali.runtime.bundle import find_bundle, find_network

log = logging.getLogger(__name__)

RESULTS_DEPEND_ON = (
    *("overlay", "tables", "threshold", "precision", "compile", "device", "video", "tracks"),
)
"""Keys of the configuration that a resumed video must share with the interrupted command."""


def predict(cfg: DictConfig) -> dict[str, int]:
    """Write the maps of a source, and what else the configuration asks for.

    A clip's folder appears when all of its maps are written, never half. Under torchrun every
    process takes its share of whole clips. An interrupted video is resumed. Several commands may
    write into one output at the same time, but not results of the same clip.

    Returns:
        Number of "clips", "frames" and "skipped" frames of this process; of a live source also
        "dropped" ones.

    Raises:
        UserError: Anything that does not fit, before or during the work.
    """
    check_config(cfg, "predict")
    _check_values(cfg)
    from sali.prediction.sources import check_streams, index_source, protect_source

    source = SAMPLE if is_sample(cfg.source) else cfg.source
    sources = index_source(str(source), cfg.video.max_pixels)
    check_streams(sources, cfg.streams)

    from sali.build import operating_point, pick_device, prediction_settings
    from sali.data.video.live import LiveSettings
    from sali.prediction import Options, write_manifest
    from sali.prediction import predict as predict_sources
    from sali.prediction.result import LOCK
    from sali.run.locks import locked
    from sali.run.processes import shard
    from sali.runtime.network import load_network

    network, trained = load_network(find_network(cfg.ckpt), trust=list(cfg.trust))
    point = operating_point(cfg.threshold, trained)
    settings = prediction_settings(cfg, trained, network)
    shown = {**settings, **settings["video"]}
    shown.pop("video")
    log.info("settings: %s", ", ".join(f"{k}={v}" for k, v in shown.items()))
    writers = _writers(cfg, settings, point, sources)
    for source in sources:
        for writer in writers.values():
            protect_source(source, writer.root, str(cfg.source))
            writer.protect(source.name)
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
        live=LiveSettings(**cfg.live),
        quiet=rank > 0,
        corruption=_corruption(cfg, sources),
    )
    output = writers["maps"].root
    with locked(output / LOCK, [source.name for source in sources]) as taken:
        if taken is not None:
            raise ConfigError(
                f"another process predicts {taken} into {output}; wait for its end, or choose "
                "another output"
            )
        resume = _resume(cfg, settings, sources, writers)
        counts = predict_sources(sources, network, settings, [*writers.values()], options, resume)
        log.info("%(frames)d maps of %(clips)d clips, %(skipped)d frames skipped", counts)
        if rank == 0:
            about = {"checkpoint": str(cfg.ckpt), "settings": settings}
            write_manifest(output, point, **about, source=str(cfg.source))
    for root in dict.fromkeys(writer.root for writer in writers.values()):
        log.info("written: %s", root)
    return counts


def _check_values(cfg: DictConfig) -> None:
    """Raise ConfigError for values that would only be noticed after the network is loaded."""
    if cfg.recording and find_spec("rerun") is None:
        raise ConfigError(
            "recording=true needs rerun-sdk, which is not installed: pip install 'sali[recording]'"
        )
    source = str(cfg.source)
    # A camera has a number or a device, on Windows video=<name>; a stream has an address.
    is_live = "://" in source or source.isdigit() or source.startswith(("/dev/", "video="))
    if _is_missing(source) and not is_live and not is_sample(source):
        raise ConfigError(f"source: no such folder or file: {source}")
    require_writable(Path(str(cfg.output)))
    _check_bundle(cfg)
    for key, least in {"num_workers": 0, "prefetch_factor": 1, "streams": 1}.items():
        if not isinstance(cfg[key], int) or cfg[key] < least:
            raise ConfigError(f"{key}: got {cfg[key]!r}, wanted a whole number of at least {least}")
    if cfg.on_bad_frame not in ("error", "skip"):
        raise ConfigError(f"on_bad_frame: got {cfg.on_bad_frame!r}, wanted 'error' or 'skip'")


def _check_bundle(cfg: DictConfig) -> None:
    """Raise ConfigError for what a bundle cannot do, or where there is no network at all."""
    find_network(cfg.ckpt)
    if find_bundle(cfg.ckpt) is None:
        return
    if str(cfg.precision) != "32" or cfg.compile or cfg.device not in ("auto", "cpu"):
        raise ConfigError(
            f"ckpt: {cfg.ckpt} is a bundle, whose precision and engine were chosen by sali.export; "
            "leave out precision, compile and device"
        )


def _is_missing(path: str) -> bool:
    """Return whether nothing has this path; what is wrong with it otherwise is found later."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def _writers(
    cfg: DictConfig, settings: dict[str, Any], point: Any, sources: Sequence[Any]
) -> dict[str, Any]:
    """Return the writers of what the configuration asks for, by name."""
    from sali.data.index import Clip
    from sali.prediction.writers.pictures import map_pictures, overlay_pictures

    output = Path(os.path.abspath(str(cfg.output)))  # so that it has a name, also for `.`

    def folder(what: str) -> Path:
        return output.with_name(f"{output.name}_{what}")

    writers: dict[str, Any] = {"maps": map_pictures(output, settings["maps"])}
    if cfg.overlay and isinstance(sources[0], Clip):
        writers["overlays"] = overlay_pictures(folder("overlays"), point)
    elif cfg.overlay:
        from sali.prediction.writers.videos import overlay_videos

        writers["overlays"] = overlay_videos(folder("overlays"), point, **cfg.video.overlay)
    if cfg.tables:
        from sali.prediction.writers.tables import detection_tables, mask_files
        from sali.prediction.writers.tracks import track_tables

        writers["tables"] = detection_tables(folder("tables"), point)
        writers["masks"] = mask_files(folder("tables"), point)
        writers["tracks"] = track_tables(folder("tables"), point, **cfg.tracks)
    if cfg.recording:
        from sali.prediction.writers.recordings import recordings
        from sali.run.record import provenance

        about = {"checkpoint": str(cfg.ckpt), "settings": settings, **provenance()}
        root, choices = folder("recordings"), dict(cfg.recordings)
        writers["recordings"] = recordings(root, point, about, choices)
    return writers


def _corruption(cfg: DictConfig, sources: Sequence[Any]) -> Any:
    """Return the runs of bad frames to put into the clips, and list them; None without."""
    from sali.config import build
    from sali.data.clip_tables import write_runs
    from sali.data.index import Clip

    if cfg.data.corruption is None:
        return None
    corruption = build(cfg.data.corruption)
    clips = [source for source in sources if isinstance(source, Clip)]
    table = Path(cfg.output).with_name(f"{Path(cfg.output).name}_runs.csv")
    write_runs(table, corruption.table(clips))
    log.info("runs of bad frames: %s", table)
    return corruption


def _resume(
    cfg: DictConfig, settings: dict[str, Any], sources: Sequence[Any], writers: dict[str, Any]
) -> Any:
    """Return what saves the state of videos; None if the user or a writer does not want it."""
    from sali.data.video.files import Video
    from sali.prediction.resume import Resume, forget

    if not any(isinstance(source, Video) for source in sources):
        return None
    others = [name for name, writer in writers.items() if not writer.resumable]
    if others:
        log.info("%s cannot be resumed, so no state is saved", ", ".join(others))
    if others or not cfg.resume:
        forget(Path(cfg.output), sources)
        return None
    return Resume(Path(cfg.output), _identity(cfg, settings), writers, cfg.video.save_every)


def _identity(cfg: DictConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """Return everything that the results of a video depend on, except the video itself."""
    import av
    import torch

    own = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(own, dict)
    with find_network(cfg.ckpt).open("rb") as file:
        checkpoint = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "checkpoint": checkpoint,
        **settings,
        **{name: own[name] for name in RESULTS_DEPEND_ON},
        "versions": {
            "sali": sali.__version__,
            "torch": str(torch.__version__),
            "av": av.__version__,
        },
    }


@command("predict")
def main(cfg: DictConfig) -> None:
    """Hydra's shell around `predict`."""
    try:
        predict(cfg)
    except KeyboardInterrupt:
        log.warning("interrupted; the same command resumes a video where it was saved last")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
