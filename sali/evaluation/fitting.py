"""Fit the operating point of a checkpoint on the maps of held-out cases, and store it there."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from sali.data.frames import read_grey
from sali.data.index import Clip
from sali.errors import ConfigError, DataError, WeightsError
from sali.evaluation.inputs import ClipMaps, read_truth
from sali.metrics.counted_frame import BoolArray, ByteArray
from sali.metrics.operating_point import Fit, fit_operating_point
from sali.metrics.vps import match_size
from sali.models.weights import read_file, save_safetensors
from sali.run.io import atomic_write

log = logging.getLogger(__name__)


def has_polyp_free_frame(clips: Sequence[Clip]) -> bool:
    """Return whether an annotated frame of these clips shows no polyp."""
    return any(not read_truth(clip, i).any() for clip in clips for i in _annotated(clip))


def fit_on_maps(
    maps: Sequence[ClipMaps],
    false_alarm_rate: float,
    thresholds: Sequence[float],
    min_regions: Sequence[float],
    detection_iou: float,
) -> Fit:
    """Fit an operating point on maps on disk; see `fit_operating_point`.

    Args:
        maps: Clips of held-out cases with their maps, probability x 255.
        false_alarm_rate: Largest share of polyp-free frames that may be marked.
        thresholds: Thresholds to try, on the network's own probability.
        min_regions: Smallest regions to try, shares of the image.
        detection_iou: A polyp is detected from this IoU on.

    Raises:
        ConfigError: A number out of range, or no polyp-free frame.
        FrameError: A file that cannot be read.
    """
    try:
        fit = fit_operating_point(
            _Frames(maps), false_alarm_rate, thresholds, min_regions, detection_iou
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
    if fit.false_alarm_rate > false_alarm_rate:
        log.warning("no confidence marks at most %g of the polyp-free frames", false_alarm_rate)
    return fit


def store_operating_point(path: Path, fit: Fit) -> None:
    """Write an operating point into a checkpoint, in place of the one before.

    Raises:
        WeightsError: Not a checkpoint of `sali.train`.
    """
    import torch

    content = read_file(path)
    if not isinstance(content.get("sali"), dict):
        raise WeightsError(
            f"{path} is not a checkpoint of sali.train, so it cannot hold an operating point; give "
            "predict a threshold instead"
        )
    content["sali"]["operating_point"] = fit.content()
    with atomic_write(path, sync=True) as partial:
        if path.suffix == ".safetensors":
            save_safetensors(partial, content["state_dict"], content["sali"])
        else:
            torch.save(content, partial)
    log.info("the operating point is stored in %s", path)


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
    masks = enumerate(clip.masks)
    return [index for index, mask in masks if mask is not None or clip.is_polyp_free]
