"""Maps for every frame of a source.

python -m sali.predict ckpt=best.ckpt source=/data/clips output=maps
python -m sali.predict ckpt=best.ckpt source=procedure.mp4 output=maps overlay=true
"""

import logging
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from rich.progress import Progress
from torch.utils.data import DataLoader

from sali.build import pick_device
from sali.cli import command
from sali.config import check_config
from sali.data.clips import Clip, index_source
from sali.data.datasets import ClipFrames, FrameReader
from sali.data.frames import read_frame
from sali.data.samples import ClipFrame
from sali.data.sampling import ClipBatches
from sali.data.video import Video, VideoFrames, index_videos
from sali.errors import ConfigError, FrameError
from sali.figures.overlay import draw_overlay
from sali.figures.video import OverlayVideo
from sali.models.weights import load_network
from sali.processes import shard
from sali.streaming import ClipRunner, StreamSegmenter, prepare_network
from sali.streaming.detections import DetectionTables
from sali.streaming.maps import RULES, to_map

log = logging.getLogger(__name__)

Source = Clip | Video


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
    clips = _index(str(cfg.source), cfg)
    output = Path(cfg.output)
    overlays = output.with_name(f"{output.name}_overlays") if cfg.overlay else None
    _protect_sources(clips, [root for root in (output, overlays) if root])
    rank, num_processes = shard()
    clips = clips[rank::num_processes]
    network, trained = load_network(cfg.ckpt)
    settings = settings_for(cfg, trained)
    if settings["maps"] not in RULES:
        raise ConfigError(f"maps {settings['maps']!r} is not one of {RULES}")
    log.info("settings: %s", ", ".join(f"{k}={v}" for k, v in settings.items()))
    maps, decode = settings.pop("maps"), settings.pop("decode")
    precision = str(cfg.precision)

    def make_segmenter() -> StreamSegmenter:
        return StreamSegmenter(network, **settings, precision=precision)

    try:
        make_segmenter()
        loader = _load(clips, FrameReader(settings["image_size"], decode), cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    network = prepare_network(network.to(pick_device(cfg.device)), precision, cfg.compile)
    tables = output.with_name(f"{output.name}_tables") if cfg.tables else None
    writer = _Writer(maps, output, overlays, tables, cfg.threshold, dict(cfg.video.overlay))
    return _run(loader, clips, ClipRunner(make_segmenter), writer, cfg.on_bad_frame == "skip")


def _index(source: str, cfg: DictConfig) -> list[Source]:
    if "://" in source:
        raise ConfigError(
            f"source {source!r} is an address; wanted a file or folder (record the stream first)"
        )
    videos = index_videos(Path(source), cfg.video.max_pixels)
    if videos and cfg.streams != 1:
        raise ConfigError(f"streams is {cfg.streams}; videos are streamed one by one, streams=1")
    return [*videos] or [*index_source(Path(source))]


def _load(clips: list[Source], reader: FrameReader, cfg: DictConfig) -> "DataLoader[Any]":
    folders = [clip for clip in clips if isinstance(clip, Clip)]
    videos = [clip for clip in clips if isinstance(clip, Video)]
    options: dict[str, Any]
    if videos:  # decoded in order, so by one worker
        workers = min(1, cfg.num_workers)
        options = {"dataset": VideoFrames(videos, reader.image_size, keep_pictures=cfg.overlay)}
    else:
        workers = cfg.num_workers
        options = {
            "dataset": ClipFrames(folders, reader, with_masks=False, keep_bad=True),
            "batch_sampler": ClipBatches([len(clip.frames) for clip in folders], cfg.streams),
        }
    return DataLoader(
        **options,
        collate_fn=list,
        num_workers=workers,
        prefetch_factor=cfg.prefetch_factor if workers else None,
    )


def _protect_sources(clips: list[Source], roots: list[Path]) -> None:
    """Refuse to write a clip's results over the files that its frames are in."""
    for clip in clips:
        source = (clip.path if isinstance(clip, Video) else clip.frames[0].parent).resolve()
        for root in roots:
            folder = (root / clip.name).resolve()
            if source in (folder, folder.with_name(f"{clip.name}.mp4")) or folder in source.parents:
                raise ConfigError(
                    f"output {root} would put the maps of {clip.name} in place of its frames; "
                    "choose another folder"
                )


def _run(
    loader: "DataLoader[Any]",
    clips: list[Source],
    runner: ClipRunner,
    writer: "_Writer",
    skip_bad: bool,
) -> dict[str, int]:
    count = {"clips": len(clips), "frames": 0, "skipped": 0}
    lengths = [clip.length if isinstance(clip, Video) else len(clip.frames) for clip in clips]
    try:
        with Progress() as progress:
            bar = progress.add_task("frames", total=sum(lengths) if all(lengths) else None)
            for frames in loader:
                for frame in frames:
                    if frame.error:
                        if not skip_bad and not frame.lost:
                            raise FrameError(f"{frame.error} (on_bad_frame=skip leaves it out)")
                        log.warning("skipped: %s", frame.error)
                        count["skipped"] += max(1, frame.lost)
                for done, probability in runner.push(frames):
                    writer.write(clips[done.clip], done, probability)
                    count["frames"] += 1
                for frame in frames:
                    if frame.is_last:
                        writer.finish(clips[frame.clip])
                progress.advance(bar, len(frames))
    finally:
        writer.discard()
    log.info("%(frames)d maps of %(clips)d clips, %(skipped)d frames skipped", count)
    for what, folder in writer.folders.items():
        log.info("%s: %s", what, folder)
    return count


class _Writer:
    """Maps of every clip, and overlays and tables if there are folders for them."""

    def __init__(
        self,
        maps: str,
        output: Path,
        overlays: Path | None,
        tables: Path | None,
        threshold: float,
        video: dict[str, Any],
    ) -> None:
        named = {"maps": output, "overlays": overlays, "tables": tables}
        self.folders = {what: folder for what, folder in named.items() if folder is not None}
        self._rule = maps
        self._maps = _ClipFolders(output, ".png")
        self._overlays = _ClipFolders(overlays, ".jpg") if overlays else None
        self._videos = _ClipVideos(overlays, video) if overlays else None
        self._tables = DetectionTables(tables, threshold) if tables else None
        self._threshold = threshold

    def write(self, clip: Source, frame: ClipFrame, probability: torch.Tensor) -> None:
        stem = _stem(clip, frame)
        self._maps.write(clip.name, stem, to_map(probability, self._rule).cpu().numpy())
        strength = probability.float().cpu().numpy()
        if self._tables is not None:
            time = float(frame.time) if isinstance(clip, Video) else None
            self._tables.write(clip.name, stem, time, strength)
        if self._overlays is None or self._videos is None:
            return
        if isinstance(clip, Video):
            assert frame.picture is not None  # kept where overlays are drawn
            drawn = draw_overlay(frame.picture.numpy(), strength, threshold=self._threshold)
            self._videos.write(clip, drawn, frame.time)
        else:
            picture, _ = read_frame(clip.frames[frame.number])
            drawn = draw_overlay(picture, strength, threshold=self._threshold)
            self._overlays.write(clip.name, stem, drawn)

    def finish(self, clip: Source) -> None:
        for part in self._parts():
            part.finish(clip.name)

    def discard(self) -> None:
        for part in self._parts():
            part.discard()

    def _parts(self) -> "list[_ClipFolders | _ClipVideos | DetectionTables]":
        parts = (self._maps, self._overlays, self._videos, self._tables)
        return [part for part in parts if part is not None]


def _stem(clip: Source, frame: ClipFrame) -> str:
    return f"{frame.number:06d}" if isinstance(clip, Video) else clip.frames[frame.number].stem


class _ClipFolders:
    """Pictures of a clip, in a hidden folder that is renamed when the clip is whole."""

    def __init__(self, root: Path, suffix: str) -> None:
        self.root = root
        self.suffix = suffix
        self.unfinished: set[str] = set()

    def _partial(self, clip: str) -> Path:
        return self.root / f".{clip}.partial"

    def write(self, clip: str, stem: str, picture: np.ndarray) -> None:
        if clip not in self.unfinished:  # what a killed run left
            shutil.rmtree(self._partial(clip), ignore_errors=True)
            self._partial(clip).mkdir(parents=True)
            self.unfinished.add(clip)
        Image.fromarray(picture).save(self._partial(clip) / f"{stem}{self.suffix}")

    def finish(self, clip: str) -> None:
        if clip in self.unfinished:
            final = self.root / clip
            shutil.rmtree(final, ignore_errors=True)
            self._partial(clip).rename(final)
            self.unfinished.remove(clip)

    def discard(self) -> None:
        for clip in self.unfinished:
            shutil.rmtree(self._partial(clip), ignore_errors=True)


class _ClipVideos:
    """Overlays of a video as a video; one that is interrupted is kept as ``.partial.mp4``."""

    def __init__(self, root: Path, options: dict[str, Any]) -> None:
        self.root = root
        self.options = options
        self.open: dict[str, OverlayVideo] = {}

    def write(self, video: Video, picture: np.ndarray, time: Fraction) -> None:
        if video.name not in self.open:
            path = self.root / f"{video.name}.mp4"
            self.open[video.name] = OverlayVideo(path, video.time_base, video.rate, **self.options)
        self.open[video.name].write(picture, time)

    def finish(self, clip: str) -> None:
        if clip in self.open:
            self.open.pop(clip).close(whole=True)

    def discard(self) -> None:
        for video in self.open.values():
            video.close(whole=False)
            log.warning("unfinished overlay, up to where it stopped: %s", video.partial)


@command("predict")
def main(cfg: DictConfig) -> None:
    """Hydra's shell round ``predict``."""
    predict(cfg)


if __name__ == "__main__":
    main()
