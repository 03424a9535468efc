"""Maps for every frame of a source.

python -m sali.predict ckpt=best.ckpt source=/data/clips output=maps
"""

import logging
import shutil
from pathlib import Path
from typing import Any

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
from sali.data.sampling import ClipBatches
from sali.errors import ConfigError, FrameError
from sali.figures.overlay import draw_overlay
from sali.models.weights import load_network
from sali.processes import shard
from sali.streaming import ClipRunner, StreamSegmenter, prepare_network
from sali.streaming.maps import RULES, to_map

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
    clips = index_source(Path(cfg.source))
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
        batches = ClipBatches([len(clip.frames) for clip in clips], cfg.streams)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    network = prepare_network(network.to(pick_device(cfg.device)), precision, cfg.compile)
    runner = ClipRunner(make_segmenter)
    loader = DataLoader(
        ClipFrames(
            clips,
            FrameReader(settings["image_size"], decode),
            with_masks=False,
            keep_bad=True,
        ),
        batch_sampler=batches,
        collate_fn=list,
        num_workers=cfg.num_workers,
        prefetch_factor=cfg.prefetch_factor if cfg.num_workers else None,
    )
    return _run(loader, clips, runner, maps, output, overlays, cfg.on_bad_frame == "skip")


def _protect_sources(clips: list[Clip], roots: list[Path]) -> None:
    """Refuse to write a clip's folder over the folder that its frames are in."""
    for clip in clips:
        source = clip.frames[0].parent.resolve()
        for root in roots:
            if (root / clip.name).resolve() == source:
                raise ConfigError(
                    f"output {root} would put the maps of {clip.name} in place of its frames; "
                    "choose another folder"
                )


def _run(
    loader: "DataLoader[Any]",
    clips: list[Clip],
    runner: ClipRunner,
    maps: str,
    output: Path,
    overlays: Path | None,
    skip_bad: bool,
) -> dict[str, int]:
    count = {"clips": len(clips), "frames": 0, "skipped": 0}
    writer = _ClipWriter(output, overlays)
    try:
        with Progress() as progress:
            bar = progress.add_task("frames", total=sum(len(clip.frames) for clip in clips))
            for frames in loader:
                for frame in frames:
                    if frame.error:
                        if not skip_bad:
                            raise FrameError(f"{frame.error} (on_bad_frame=skip leaves it out)")
                        log.warning("skipped: %s", frame.error)
                        count["skipped"] += 1
                for done, probability in runner.push(frames):
                    clip = clips[done.clip]
                    writer.write(clip, clip.frames[done.number], probability, maps)
                    count["frames"] += 1
                for frame in frames:
                    if frame.is_last:
                        writer.finish(clips[frame.clip])
                progress.advance(bar, len(frames))
    finally:
        writer.discard(clips)
    log.info("%(frames)d maps of %(clips)d clips, %(skipped)d frames skipped", count)
    log.info("maps: %s", output)
    return count


class _ClipWriter:
    """Maps of a clip, in a hidden folder that is renamed when the clip is whole."""

    def __init__(self, output: Path, overlays: Path | None) -> None:
        self.roots = [root for root in (output, overlays) if root]

    def _partial(self, root: Path, clip: Clip) -> Path:
        return root / f".{clip.name}.partial"

    def write(self, clip: Clip, path: Path, probability: torch.Tensor, maps: str) -> None:
        pictures = [(to_map(probability, maps).cpu().numpy(), ".png")]
        if len(self.roots) > 1:
            frame, _ = read_frame(path)
            pictures.append((draw_overlay(frame, probability.float().cpu().numpy()), ".jpg"))
        for root, (picture, suffix) in zip(self.roots, pictures, strict=True):
            folder = self._partial(root, clip)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{path.stem}{suffix}")

    def finish(self, clip: Clip) -> None:
        for root in self.roots:
            partial, final = self._partial(root, clip), root / clip.name
            if partial.is_dir():
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)

    def discard(self, clips: list[Clip]) -> None:
        for root in self.roots:
            for clip in clips:
                shutil.rmtree(self._partial(root, clip), ignore_errors=True)


@command("predict")
def main(cfg: DictConfig) -> None:
    """Hydra's shell round ``predict``."""
    predict(cfg)


if __name__ == "__main__":
    main()
