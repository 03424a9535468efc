"""The clinical protocol: raw probabilities at one fixed threshold, over whole clips.

The VPS protocol stretches each map, leaves out frames without a polyp and knows no time. Here a
map is taken as it is (probability x 255), polyp-free frames count, and frames come in order: how
soon a polyp is found, how long a false alarm stays, how much a mask flickers. Such scores are
what clinical studies of detection systems report (ENDOTEST, Scandinavian Journal of
Gastroenterology 2022).

A `ClipTracker` reads the frames of one clip in order and keeps a `ClipTally` of fixed size;
`clinical_summary.summarise` turns the tallies of any number of clips into scores.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sali.metrics.calibration import PROBABILITIES
from sali.metrics.counted_frame import (
    NUM_LEVELS,
    BoolArray,
    ByteArray,
    IntArray,
    as_mask,
    centroid,
    check_map,
    joint_counts,
)
from sali.metrics.operating_point import regions
from sali.ranges import check_ranges

EMPTY_POLICIES = ("skip", "one", "zero")


@dataclass(frozen=True)
class ClinicalRules:
    """What the scores depend on.

    Attributes:
        threshold: A pixel is marked where its probability is at least this, in (0, 1].
        frames_per_second: Rate of the recording; turns frames into time. A clip may have its own.
        empty: Dice and IoU of a frame without a polyp. "skip": the frame is not in their mean.
            "one": 1 if nothing is marked, else 0. "zero": 0 in any case.
        detection_iou: A polyp is detected in a frame if the marked pixels overlap it with at
            least this IoU; 0 accepts any overlap of at least one pixel.
        alarm_pixels: A polyp-free frame is a false positive from this many marked pixels on.
        absence_frames: A polyp returns if it was absent for at least this many frames.
        alarm_rates: Shares of polyp-free frames with an alarm at which sensitivities are compared.
    """

    threshold: float = 0.5
    frames_per_second: float = 30.0
    empty: str = "skip"
    detection_iou: float = 0.5
    alarm_pixels: int = 1
    absence_frames: int = 1
    alarm_rates: tuple[float, ...] = (0.01, 0.05, 0.1)

    def __post_init__(self) -> None:
        rates = list(self.alarm_rates)
        check_ranges({"clinical": {**vars(self), "alarm_rates": rates}}, "evaluate")
        object.__setattr__(self, "alarm_rates", tuple(rates))  # YAML has lists
        if self.empty not in EMPTY_POLICIES:
            raise ValueError(f"empty: got {self.empty!r}, wanted one of {EMPTY_POLICIES}")


def _no_levels() -> IntArray:
    return np.zeros(NUM_LEVELS, np.int64)


@dataclass
class ClipTally:
    """Sums over the frames of one clip.

    Attributes:
        frames_per_second: Rate of the recording.
        num_polyp_frames: Frames whose ground truth is not empty.
        num_free_frames: Frames whose ground truth is empty.
        num_overlap_frames: Frames in the mean of Dice and IoU.
        dice: Sum of Dice over these frames.
        iou: Sum of IoU over these frames.
        num_detected_frames: Polyp frames in which the polyp is detected.
        detection_delay: Frames from the first polyp frame to the first detection; 0 without one.
        num_returns: Polyps that come back after an absence within the clip.
        num_found_returns: Those that are detected before they leave again.
        return_delay: Sum over these of the frames from the return to its detection.
        num_false_positive_frames: Polyp-free frames with an alarm.
        num_false_alarms: Runs of consecutive such frames.
        longest_false_alarm: Length of the longest run, frames.
        num_stability_pairs: Pairs of consecutive polyp frames, of which something is marked.
        stability: Sum over these pairs of `centred_iou` of the marked pixels.
        reference_stability: Sum of `stability` of the ground truth.
        num_free_pixels: Pixels of polyp-free frames.
        num_false_positive_pixels: Marked pixels of polyp-free frames.
        counts: Pixels by ground truth and grey level, [2, 256].
        alarms: Polyp-free frames with an alarm if only regions whose mean is at least a grey level
            are marked, [256].
        detections: Polyp frames in which the polyp is detected then, [256].
        touches: Polyp frames in which some of the polyp is marked then, [256].
    """

    frames_per_second: float = 30.0
    num_polyp_frames: float = 0
    num_free_frames: float = 0
    num_overlap_frames: float = 0
    dice: float = 0
    iou: float = 0
    num_detected_frames: float = 0
    detection_delay: float = 0
    num_returns: float = 0
    num_found_returns: float = 0
    return_delay: float = 0
    num_false_positive_frames: float = 0
    num_false_alarms: float = 0
    longest_false_alarm: float = 0
    num_stability_pairs: float = 0
    stability: float = 0
    reference_stability: float = 0
    num_free_pixels: float = 0
    num_false_positive_pixels: float = 0
    counts: IntArray = field(
        default_factory=lambda: np.zeros((2, NUM_LEVELS), np.int64), kw_only=True
    )
    alarms: IntArray = field(default_factory=_no_levels, kw_only=True)
    detections: IntArray = field(default_factory=_no_levels, kw_only=True)
    touches: IntArray = field(default_factory=_no_levels, kw_only=True)


class FrameOutcome(NamedTuple):
    """What the clinical protocol makes of one frame; Dice and IoU are None where it leaves it out.

    Attributes:
        num_polyp: Pixels of the ground truth.
        num_marked: Pixels at or above the threshold.
    """

    num_polyp: int
    num_marked: int
    dice: float | None
    iou: float | None
    is_detected: bool
    is_false_positive: bool


class ClipTracker:
    """Read the frames of one clip, whose rate is that of the rules, in order; `tally` has sums."""

    def __init__(self, rules: ClinicalRules) -> None:
        self.tally = ClipTally(rules.frames_per_second)
        self._rules = rules
        self._lowest_marked_level = int(np.searchsorted(PROBABILITIES, rules.threshold))
        self._previous: tuple[BoolArray, BoolArray] | None = None  # marks and polyp
        self._run_length = 0
        self._num_frames = 0
        self._first_polyp_frame: int | None = None
        self._absence = 0  # polyp-free frames since the last one with the polyp
        self._returned: int | None = None  # frame of a return that was not detected yet

    def step(self, prediction: ByteArray, mask: NDArray[np.bool_ | np.uint8]) -> FrameOutcome:
        """Add the next frame and returns what came of it.

        Args:
            prediction: Probability x 255, uint8 [H, W].
            mask: Ground truth, bool [H, W], or uint8 [H, W] in which more than 128 is foreground.

        Raises:
            ValueError: If an array is not as stated or differs in shape from the frame before.
        """
        truth = as_mask(mask)
        check_map(prediction, truth.shape)
        counts = joint_counts(prediction, truth)
        self.tally.counts += counts
        marked_from = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # [2, 256], by the lowest level
        false_positive, true_positive = marked_from[:, self._lowest_marked_level].tolist()
        num_polyp = int(counts[1].sum())
        marked = prediction >= self._lowest_marked_level
        has_polyp = num_polyp > 0

        self._add_confidences(prediction, marked, truth, num_polyp)
        dice, iou = self._add_overlap(true_positive, false_positive, num_polyp)
        is_detected = is_false_positive = False
        if has_polyp:
            is_detected = self._add_detection(true_positive / (num_polyp + false_positive))
            self._run_length = 0
        else:
            is_false_positive = self._add_free_frame(false_positive, truth.size)
        if self._previous is not None and has_polyp:
            self._add_stability(*self._previous, marked, truth)
        self._previous = (marked, truth) if has_polyp else None
        self._num_frames += 1
        num_marked = true_positive + false_positive
        return FrameOutcome(num_polyp, num_marked, dice, iou, is_detected, is_false_positive)

    def gap(self) -> None:
        """Skip a frame: time advances, and its neighbors are not consecutive."""
        self._previous = None
        self._run_length = 0
        self._num_frames += 1

    def _add_confidences(
        self, prediction: ByteArray, marked: BoolArray, truth: BoolArray, num_polyp: int
    ) -> None:
        labels, areas, means = regions(marked, prediction)
        # An integer level is at most the mean if it is at most the mean rounded down.
        levels = np.floor(means[1:] * 255 + 1e-9).astype(int)
        overlaps = np.bincount(labels[marked & truth], minlength=len(areas))[1:]
        true_positive, false_positive = (
            np.bincount(levels, pixels, NUM_LEVELS)[::-1].cumsum()[::-1]
            for pixels in (overlaps, areas[1:] - overlaps)
        )
        if num_polyp:
            iou = true_positive / (num_polyp + false_positive)
            self.tally.touches += true_positive > 0
            self.tally.detections += (true_positive > 0) & (iou >= self._rules.detection_iou)
        else:
            self.tally.alarms += false_positive >= self._rules.alarm_pixels

    def _add_overlap(
        self, true_positive: int, false_positive: int, num_polyp: int
    ) -> tuple[float, float] | tuple[None, None]:
        union = num_polyp + false_positive
        if num_polyp:
            dice, iou = 2 * true_positive / (true_positive + union), true_positive / union
        elif self._rules.empty == "skip":
            return None, None
        else:
            dice = iou = float(self._rules.empty == "one" and not false_positive)
        self.tally.num_overlap_frames += 1
        self.tally.dice += dice
        self.tally.iou += iou
        return dice, iou

    def _add_detection(self, iou: float) -> bool:
        tally = self.tally
        tally.num_polyp_frames += 1
        if self._first_polyp_frame is None:
            self._first_polyp_frame = self._num_frames
        elif self._absence >= self._rules.absence_frames:
            tally.num_returns += 1
            self._returned = self._num_frames
        self._absence = 0
        if not (iou > 0 and iou >= self._rules.detection_iou):
            return False
        if not tally.num_detected_frames:
            tally.detection_delay = self._num_frames - self._first_polyp_frame
        if self._returned is not None:
            tally.num_found_returns += 1
            tally.return_delay += self._num_frames - self._returned
            self._returned = None
        tally.num_detected_frames += 1
        return True

    def _add_free_frame(self, num_marked: int, num_pixels: int) -> bool:
        tally = self.tally
        tally.num_free_frames += 1
        self._absence += 1
        self._returned = None
        tally.num_free_pixels += num_pixels
        tally.num_false_positive_pixels += num_marked
        if num_marked < self._rules.alarm_pixels:
            self._run_length = 0
            return False
        tally.num_false_positive_frames += 1
        tally.num_false_alarms += self._run_length == 0
        self._run_length += 1
        tally.longest_false_alarm = max(tally.longest_false_alarm, self._run_length)
        return True

    def _add_stability(
        self, marked_before: BoolArray, mask_before: BoolArray, marked: BoolArray, mask: BoolArray
    ) -> None:
        if not (marked.any() or marked_before.any()):
            return
        self.tally.num_stability_pairs += 1
        self.tally.stability += centred_iou(marked_before, marked)
        self.tally.reference_stability += centred_iou(mask_before, mask)


def centred_iou(first: BoolArray, second: BoolArray) -> float:
    """Return the IoU of two masks [H, W] after moving one so that their centroids meet.

    Moving an object does not change the value, changing its outline does. This is a definition
    of ours in the spirit of the temporal stability T of DAVIS (Perazzi et al., "A benchmark
    dataset and evaluation methodology for video object segmentation", CVPR 2016), which also
    compares the shapes of consecutive masks apart from their motion, but by matching contour
    descriptors; this one needs neither contours nor optical flow. Masks move by whole pixels;
    what leaves the image counts as not overlapping.

    Returns:
        0 to 1; 0 if exactly one mask is empty, 1 if both are.

    Raises:
        ValueError: For masks of different shapes.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"masks: got shapes {first.shape} and {second.shape}, wanted the same; "
            "the frames of a clip must not change size"
        )
    areas = np.count_nonzero(first), np.count_nonzero(second)
    if not all(areas):
        return float(areas[0] == areas[1])
    steps = [round(a - b) for a, b in zip(centroid(first), centroid(second), strict=True)]
    kept = tuple(slice(max(0, step), min(0, step) or None) for step in steps)
    moved = tuple(slice(max(0, -step), min(0, -step) or None) for step in steps)
    intersection = int(np.count_nonzero(first[kept] & second[moved]))
    return intersection / (sum(areas) - intersection)
