"""The ranges of all numbers in configurations: the one place that says what a number may be.

Libraries and classes may refuse more, such as sides that a network cannot take; this is what is
known without building anything.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sali.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`.

    Attributes:
        least: Smallest number.
        most: Largest number.
        whole: Whether it must be a whole number.
        without_least: Whether `least` itself is left out.
        without_most: Whether `most` itself is left out.
        all_of: A number with a meaning of its own, such as -1 for no limit.
    """

    least: float
    most: float = math.inf
    whole: bool = False
    without_least: bool = False
    without_most: bool = False
    all_of: int | None = None

    def __contains__(self, number: float) -> bool:
        if self.all_of is not None and number == self.all_of:
            return True
        if not math.isfinite(number) or (self.whole and not isinstance(number, int)):
            return False
        is_above = number > self.least if self.without_least else number >= self.least
        return is_above and (number < self.most if self.without_most else number <= self.most)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.least == self.most:
            return f"{self.least:g}"
        low = f"above {self.least:g}" if self.without_least else f"of {self.least:.10g} or more"
        high = f"below {self.most:g}" if self.without_most else f"{self.most:.10g} at most"
        text = f"{kind} {low}" + (f", {high}" if math.isfinite(self.most) else "")
        return text + (f", or {self.all_of}" if self.all_of is not None else "")


def _whole(least: int, most: float = math.inf, all_of: int | None = None) -> Range:
    return Range(least, most, whole=True, all_of=all_of)


_ANY_COUNT, _COUNT, _SHARE = _whole(0), _whole(1), Range(0, 1)
_ABOVE_ZERO, _NOT_NEGATIVE = Range(0, without_least=True), Range(0)
_BELOW_ONE = Range(0, 1, without_most=True)
_INSIDE = Range(0, 1, without_least=True, without_most=True)

_KEYS: dict[Range, str] = {
    _whole(0, 2**32 - 1): """
        seed data.seed data.split_seed data.fold_seed data.spec.seed data.corruption.seed
        bootstrap.seed generated.seed""",
    _ANY_COUNT: """
        archive.retries callbacks.early_stopping.patience callbacks.ema.update_starting_at_step
        callbacks.show_test.film_frames callbacks.show_test.overlays data.fold data.max_skip
        data.num_workers data.spec.polyp_free_clips display.keep display.reads
        generated.polyp_free_clips generated.test_clips_per_subset int8.float_layers max_first
        memory.max_frames renumbered report.clips.best report.clips.median report.clips.worst
        report.worst_frames show smallest_region time_order.max_first tracks.max_gap
        trainer.log_every_n_steps""",
    _COUNT: """
        align.offset_groups archive.workers bootstrap.num_resamples calibration_frames
        callbacks.preemption.check_every_n_steps callbacks.progress.update_every_n_steps
        callbacks.show_test.width clinical.absence_frames clinical.alarm_pixels data.batch_size
        data.corruption.gap data.corruption.length data.image_size data.prefetch_factor
        data.spec.test_clips_per_subset data.spec.train_clips data.still_motion.knots display.width
        evaluation.num_workers fallback.image_size generated.train_clips largest_every
        largest_memory last_frames limit_test_clips longest_side max_step max_users max_waiting
        memory.every memory.key_channels memory.top_k memory.value_channels meter_frames
        min_run model.channels model.multiple model.net.classes num_workers
        prefetch_factor recordings.height report.film.max_frames report.min_run
        scheduler.every_epochs streams subsets.train subsets.unseen_easy subsets.unseen_hard
        thumbnail_width time_order.max_step tracks.min_area trainer.accumulate_grad_batches
        trainer.check_val_every_n_epoch trainer.num_nodes video.max_pixels
        video.overlay.key_frame_every video.save_every""",
    _whole(1, all_of=-1): "trainer.max_epochs trainer.max_steps",
    _whole(0, all_of=-1): "trainer.num_sanity_val_steps",
    # Further ones would be written over each other under the one name that a test looks for.
    _whole(1, 1): "callbacks.best.save_top_k",
    _whole(2): "data.folds data.spec.frames_per_clip generated.frames_per_clip report.max_points",
    _whole(64): "data.spec.height data.spec.width generated.height generated.width",
    _whole(16): "report.film.height",
    _whole(1, 100): """
        display.jpeg_quality quality recordings.jpeg_quality report.film.quality""",
    _whole(0, 51): "video.overlay.quality",
    _whole(0, 254): "polyp_above",
    _whole(0, 65535): "port",
    _SHARE: """
        callbacks.ema.decay clinical.detection_iou data.shares.polyp_free data.shares.stills
        data.transform.bad_share detection_iou int8.min_dice min_gain quality_limits.max_clipped
        quality_limits.max_dark quality_limits.max_glare report.bad_dice scheduler.final_fraction
        scheduler.warmup_fraction time_order.min_gain""",
    _BELOW_ONE: """
        backbone.drop_path_rate clinical.alarm_rates fallback.smoothing
        operating_point.false_alarm_rate operating_point.min_regions optimizer.betas smoothing""",
    _INSIDE: """
        bootstrap.confidence data.validation_fraction operating_point.thresholds threshold""",
    Range(0, 1, without_least=True): "clinical.threshold tracks.min_iou",
    _ABOVE_ZERO: """
        align.max_offset archive.cpus callbacks.progress.log_every_n_minutes
        callbacks.show_test.frames_per_second clinical.frames_per_second clip_rate keep_minutes
        limits.megabytes limits.seconds live.camera_rate live.max_seconds live.open_timeout
        live.read_timeout pictures_per_second recording_fps recordings.flush_seconds
        trainer.limit_train_batches trainer.val_check_interval""",
    _NOT_NEGATIVE: """
        archive.gpus backbone_lr_ratio data.still_motion.bend data.still_motion.light
        data.still_motion.rotate data.still_motion.scale data.still_motion.translate optimizer.lr
        optimizer.weight_decay quality_limits.min_sharpness report.film.tolerance
        report.max_megabytes scheduler.factor trainer.gradient_clip_val trainer.limit_val_batches
        trainer.overfit_batches weight_decay""",
}
RANGES: dict[str, Range] = {key: one for one, keys in _KEYS.items() for key in keys.split()}
"""Ranges by dotted key; of a list, that of its elements."""
OF_COMMAND: dict[tuple[str, str], Range | None] = {
    ("predict", "num_workers"): _ANY_COUNT,
    ("evaluate", "quality"): None,  # true or false
}
"""Ranges of keys that mean something else in one command, by command and key."""
OR_TEXT = ("threshold",)
"""Keys that may also have a word."""
COUNTS_OF_DATA = ("clips", "frames")
"""Keys of every subset below `counts`."""


def check_ranges(config: Mapping[str, Any], command: str) -> None:
    """Refuse numbers out of their range, and what is no number where there must be one.

    Args:
        config: Resolved configuration as plain values.
        command: Name of the command.

    Raises:
        ConfigError: The first such value.
    """
    shares: dict[str, float] = {}
    for key, value in _values(config):
        allowed = range_of(key, command)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if allowed is None or value is None or (isinstance(value, str) and key in OR_TEXT):
            continue
        if not is_number or value not in allowed:
            raise ConfigError(f"{key}: got {value!r}, wanted {allowed}")
        if key.startswith("data.shares."):
            shares[key] = value
    if sum(shares.values()) > 1:
        got = " and ".join(f"{key}={share}" for key, share in shares.items())
        raise ConfigError(f"got {got}, wanted shares that sum up to 1 at most")


def range_of(key: str, command: str) -> Range | None:
    """Return the range of a key in a command; None if it has none."""
    group, _, leaf = key.rpartition(".")
    if group.startswith("counts.") and leaf in COUNTS_OF_DATA:
        return _ANY_COUNT
    return OF_COMMAND.get((command, key), RANGES.get(key))


def _values(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value within mappings and lists, with the dotted key of its mapping."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, key)
    else:
        yield key, node
