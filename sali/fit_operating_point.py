"""The operating point of a checkpoint, fitted on maps of cases that it was not trained on.

python -m sali.predict ckpt=best.ckpt source=held_out/frames output=maps
python -m sali.fit_operating_point ckpt=best.ckpt gt=held_out/masks pred=maps
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from sali.cli import command
from sali.config import check_config
from sali.data.frames import read_grey
from sali.data.index import Clip
from sali.errors import ConfigError, DataError, WeightsError
from sali.evaluation import Settings
from sali.evaluation.inputs import MANIFEST, ClipMaps, find_methods, index_truth, read_truth
from sali.evaluation.integrity import check_maps
from sali.metrics.counted_frame import BoolArray, ByteArray
from sali.metrics.operating_point import Fit, fit_operating_point
from sali.metrics.vps import match_size
from sali.run.io import atomic_write, read_json
from sali.run.workers import Workers

log = logging.getLogger(__name__)


def fit_checkpoint(cfg: DictConfig) -> Fit:
    """Fit the operating point of a checkpoint and store it there.

    Raises:
        UserError: Anything that does not fit.
    """
    check_config(cfg, "fit_operating_point")
    from sali.models.checkpoint import read_checkpoint
    from sali.models.shipped import find_checkpoint

    path = find_checkpoint(cfg.ckpt)
    read_checkpoint(path)  # refuses another file before the work
    settings = Settings(
        protocol="clinical",
        subsets=None if cfg.subsets is None else tuple(cfg.subsets),
        polyp_free=None if cfg.polyp_free is None else Path(cfg.polyp_free),
    )
    clips = index_truth(Path(cfg.gt), settings)
    trees = find_methods(Path(cfg.pred), clips, path.stem)
    if len(trees) > 1:
        raise DataError(f"pred: got maps of {', '.join(trees)}, wanted those of this checkpoint")
    report = path.with_suffix(".integrity.txt")
    maps = check_maps(Workers(None), trees, clips, settings, report)
    (tree,) = trees.values()
    precision = read_json(tree / MANIFEST).get("precision")
    return fit_on_maps(path, maps, cfg.operating_point, cfg.detection_iou, precision)


def fit_on_maps(
    checkpoint: Path,
    maps: Sequence[ClipMaps],
    choices: DictConfig,
    detection_iou: float,
    precision: str | None,
) -> Fit:
    """Fit an operating point on maps of held-out clips, and store it in place of the one before.

    Args:
        checkpoint: Checkpoint of `sali.train` that the maps were predicted with.
        maps: Clips with their maps, probability x 255.
        choices: Group `operating_point` of the configuration.
        detection_iou: A polyp is detected from this IoU on.
        precision: What the maps were computed in, see `sali.streaming.prepare`; None: not known.

    Raises:
        ConfigError: No polyp-free frame.
        FrameError: A file that cannot be read.
        WeightsError: Not a checkpoint of `sali.train`.
    """
    import torch

    from sali.models.weights import read_file, save_safetensors

    highest_rate = choices.false_alarm_rate
    thresholds, min_regions = list(choices.thresholds), list(choices.min_regions)
    try:
        fit = fit_operating_point(
            _Frames(maps), highest_rate, thresholds, min_regions, detection_iou
        )
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise ConfigError(f"operating point: {error}") from error
    log.info(
        "operating point: probability %.3f, regions of at least %.2g %% of the image and of a mean "
        "probability of at least %.3f, temperature %.2f: marks %.1f %% of %d polyp-free frames, "
        "detects %s of %d polyp frames",
        fit.point.cut,
        100 * fit.point.min_region,
        fit.point.confidence,
        fit.point.temperature,
        100 * fit.false_alarm_rate,
        fit.polyp_free_frames,
        "-" if fit.frame_sensitivity is None else f"{100 * fit.frame_sensitivity:.1f} %",
        fit.polyp_frames,
    )
    if fit.false_alarm_rate > highest_rate:
        log.warning("no confidence marks at most %g of the polyp-free frames", highest_rate)
    content = read_file(checkpoint)
    if not isinstance(content.get("sali"), dict):
        raise WeightsError(
            f"{checkpoint} is not a checkpoint of sali.train, so it cannot hold an operating "
            "point; give predict a threshold instead"
        )
    content["sali"]["operating_point"] = fit.content() | {"precision": precision}
    with atomic_write(checkpoint, sync=True) as partial:
        if checkpoint.suffix == ".safetensors":
            save_safetensors(partial, content["state_dict"], content["sali"])
        else:
            torch.save(content, partial)
    log.info("the operating point is stored in %s", checkpoint)
    return fit


def has_polyp_free_frame(clips: Sequence[Clip]) -> bool:
    """Return whether an annotated frame of these clips shows no polyp."""
    return any(not read_truth(clip, i).any() for clip in clips for i in _annotated(clip))


class _Frames:
    """Map and mask of the annotated frames of clips, read anew whenever they are iterated."""

    def __init__(self, maps: Sequence[ClipMaps]) -> None:
        self._maps = maps

    def __iter__(self) -> Iterator[tuple[ByteArray, BoolArray]]:
        for maps in self._maps:
            for index in _annotated(maps.truth):
                mask = read_truth(maps.truth, index)
                yield match_size(read_grey(maps.map_path(index)), mask.shape), mask


def _annotated(clip: Clip) -> list[int]:
    """Return the frames whose mask is known."""
    return [i for i, mask in enumerate(clip.masks) if mask is not None or clip.is_polyp_free]


@command("fit_operating_point")
def main(cfg: DictConfig) -> None:
    """Hydra's shell around `fit_checkpoint`."""
    fit_checkpoint(cfg)


if __name__ == "__main__":
    main()
