"""A trained network with everything that a configuration says of a prediction."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import torch
from omegaconf import DictConfig, OmegaConf

import sali
from sali.build import operating_point, pick_device, prediction_settings
from sali.config import build
from sali.data.clip_tables import write_runs
from sali.data.index import Clip
from sali.data.video.files import Video
from sali.data.video.live import LiveSettings
from sali.prediction import Options, Source, predict, write_manifest
from sali.prediction.loop import make_segmenter
from sali.prediction.resume import Resume, forget
from sali.prediction.writers.pictures import map_pictures, overlay_pictures
from sali.run.record import provenance
from sali.runtime.bundle import find_bundle, find_network
from sali.runtime.network import load_network
from sali.streaming import prepare_network

log = logging.getLogger(__name__)

RESULTS_DEPEND_ON = (
    *("overlay", "tables", "threshold", "precision", "compile", "device", "video", "tracks"),
)
"""Keys of the configuration that a resumed video must share with the interrupted command."""


class Predictor:
    """A network that is ready, for one prediction after another.

    `cfg` is the configuration of `sali.predict`; UserError says what of it does not fit.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg
        network, trained = load_network(find_network(cfg.ckpt), trust=list(cfg.trust))
        self.point = operating_point(cfg.threshold, trained, str(cfg.precision))
        self.settings = prediction_settings(cfg, trained, network)
        shown = {**self.settings, **self.settings["video"]}
        shown.pop("video")
        log.info("settings: %s", ", ".join(f"{k}={v}" for k, v in shown.items()))
        precision = str(cfg.precision)
        make_segmenter(network, self.settings, precision)  # refuses settings before any work
        network.to(pick_device(cfg.device))
        side = self.settings["image_size"]
        self._network = prepare_network(network, side, precision, cfg.compile)

    def writers(self, output: Path, sources: Sequence[Source]) -> dict[str, Any]:
        """Return the writers of what the configuration asks for, by name.

        Maps are in the folder `output`, an absolute path; other results are next to it.
        """
        cfg, point = self._cfg, self.point

        def folder(what: str) -> Path:
            return output.with_name(f"{output.name}_{what}")

        writers: dict[str, Any] = {"maps": map_pictures(output, self.settings["maps"])}
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

            about = {"checkpoint": str(cfg.ckpt), "settings": self.settings, **provenance()}
            root, choices = folder("recordings"), dict(cfg.recordings)
            writers["recordings"] = recordings(root, point, about, choices)
        return writers

    def run(
        self, sources: Sequence[Source], writers: dict[str, Any], quiet: bool = False
    ) -> dict[str, int]:
        """Write the results of sources of one kind; an interrupted video is resumed.

        See `sali.prediction.predict` for what it returns and raises.
        """
        cfg, output = self._cfg, writers["maps"].root
        corruption = None
        if cfg.data.corruption is not None:
            corruption = build(cfg.data.corruption)
            clips = [source for source in sources if isinstance(source, Clip)]
            table = output.with_name(f"{output.name}_runs.csv")
            write_runs(table, corruption.table(clips))
            log.info("runs of bad frames: %s", table)
        options = Options(
            precision=str(cfg.precision),
            num_workers=cfg.num_workers,
            prefetch_factor=cfg.prefetch_factor,
            streams=cfg.streams,
            skip_bad=cfg.on_bad_frame == "skip",
            keep_pictures=bool(cfg.overlay or cfg.recording),
            live=LiveSettings(**cfg.live),
            quiet=quiet,
            corruption=corruption,
        )
        resume = self._resume(sources, writers)
        network, settings = self._network, self.settings
        return predict(sources, network, settings, [*writers.values()], options, resume)

    def write_manifest(self, output: Path) -> None:
        """Write what the maps in a folder are of, for the evaluation."""
        cfg = self._cfg
        about = {"checkpoint": str(cfg.ckpt), "settings": self.settings, "source": str(cfg.source)}
        if find_bundle(cfg.ckpt) is None:  # a bundle has its own
            about["precision"] = str(cfg.precision)
        write_manifest(output, self.point, **about)

    def identity(self) -> dict[str, Any]:
        """Return everything that the results of a video depend on, except the video itself."""
        own = OmegaConf.to_container(self._cfg, resolve=True)
        assert isinstance(own, dict)
        with find_network(self._cfg.ckpt).open("rb") as file:
            checkpoint = hashlib.file_digest(file, "sha256").hexdigest()
        made_by = {"sali": sali.__version__, "torch": str(torch.__version__), "av": av.__version__}
        chosen = {name: own[name] for name in RESULTS_DEPEND_ON}
        return {"checkpoint": checkpoint, **self.settings, **chosen, "versions": made_by}

    def _resume(self, sources: Sequence[Source], writers: dict[str, Any]) -> Resume | None:
        """Return what saves the state of videos; None if the user or a writer does not want it."""
        if not any(isinstance(source, Video) for source in sources):
            return None
        output = writers["maps"].root
        others = [name for name, writer in writers.items() if not writer.resumable]
        if others:
            log.info("%s cannot be resumed, so no state is saved", ", ".join(others))
        if others or not self._cfg.resume:
            forget(output, sources)
            return None
        return Resume(output, self.identity(), writers, self._cfg.video.save_every)
