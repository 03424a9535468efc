"""The operating point of a network: how its probability becomes a mask.

A network that was trained on polyps marks specks on most frames without one. Without regions that
are small or of which it is not sure, it marks few of these and still finds most polyps: where that
balance lies is fitted on cases that were held out of the training, for a stated rate of false
alarms.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logit

from sali.metrics.calibration import PROBABILITIES
from sali.metrics.counted_frame import (
    NUM_LEVELS,
    BoolArray,
    ByteArray,
    FloatArray,
    IntArray,
    joint_counts,
)

_CERTAIN = 0.5 / 255  # what a map rounds to 0 is anything below
_TEMPERATURES = 0.1, 10.0
_STEPS = 10_000  # of the confidences that are fitted, from 0 to 1


@dataclass(frozen=True)
class OperatingPoint:
    """How a probability becomes a mask.

    Attributes:
        threshold: A pixel is polyp if its calibrated probability is at least this, in (0, 1).
        min_region: Smallest connected region (8 neighbours), as a share of the image in [0, 1);
            smaller ones are removed.
        temperature: Number that logits are divided by for the calibrated probability, above 0.
        confidence: Smallest mean of the network's own probability over a region, in [0, 1]; less
            certain regions are removed.
    """

    threshold: float = 0.5
    min_region: float = 0.0
    temperature: float = 1.0
    confidence: float = 0.0

    def __post_init__(self) -> None:
        shares = 0 <= self.min_region < 1 and 0 <= self.confidence <= 1
        if not (0 < self.threshold < 1 and shares and self.temperature > 0):
            raise ValueError(
                f"operating point: got {asdict(self)}, wanted a threshold between 0 and 1, "
                "min_region in [0, 1), a temperature above 0 and confidence in [0, 1]"
            )

    @property
    def cut(self) -> float:
        """The threshold on the network's own probability."""
        if self.temperature == 1:
            return self.threshold
        return float(expit(logit(self.threshold) * self.temperature))

    def mask(self, probability: np.ndarray) -> BoolArray:
        """Return the mask of a probability, float [H, W], or of a map, uint8 [H, W]."""
        cut = self.cut
        levels = probability
        if probability.dtype == np.uint8:
            cut = int(np.searchsorted(PROBABILITIES, cut))
        elif self.confidence:
            # Rounded as in maps, so that both give the same regions.
            levels = np.rint(probability * 255).astype(np.uint8)
        smallest = self.min_region * probability.size
        return large_regions(probability >= cut, smallest, levels, self.confidence)

    def calibrated(self, probability: np.ndarray) -> np.ndarray:
        """Return the calibrated probability [...] of a probability [...]."""
        if self.temperature == 1:
            return probability
        return expit(logit(np.clip(probability, 1e-6, 1 - 1e-6)) / self.temperature)


class Fit(NamedTuple):
    """A fitted operating point, and what it does on the frames that it was fitted on.

    Attributes:
        point: The operating point.
        false_alarm_rate: Share of polyp-free frames with a marked pixel.
        frame_sensitivity: Share of polyp frames that are detected; None without one.
        polyp_free_frames: Number of polyp-free frames.
        polyp_frames: Number of polyp frames.
    """

    point: OperatingPoint
    false_alarm_rate: float
    frame_sensitivity: float | None
    polyp_free_frames: int
    polyp_frames: int

    def content(self) -> dict[str, Any]:
        """Return plain values, as checkpoints hold them."""
        return asdict(self.point) | {k: v for k, v in self._asdict().items() if k != "point"}


def fit_operating_point(
    frames: Iterable[tuple[ByteArray, BoolArray]],
    false_alarm_rate: float,
    thresholds: Sequence[float] = (0.5,),
    min_regions: Sequence[float] = (0.0,),
    detection_iou: float = 0.5,
) -> Fit:
    """Fit how masks are made for a rate of false alarms.

    For each threshold and smallest region, the confidence is the lowest one at which at most this
    share of the polyp-free frames is marked. Of all of these the one that detects the most polyp
    frames is taken, of equal ones the first. The temperature makes the log loss of the pixels
    smallest (Guo et al., "On calibration of modern neural networks", ICML 2017); it changes what a
    probability says, not which pixels are marked.

    Args:
        frames: Map, probability x 255 as uint8 [H, W], and mask, bool [H, W], of each frame; read
            twice.
        false_alarm_rate: Largest share of polyp-free frames that may be marked, in [0, 1).
        thresholds: Thresholds to try, on the network's own probability.
        min_regions: Smallest regions to try, shares of the image.
        detection_iou: A polyp is detected if the mask overlaps it with at least this IoU; 0
            accepts any overlap.

    Returns:
        The operating point; where no confidence keeps the rate, the strictest one of all, and the
        rate that it has.

    Raises:
        ValueError: No polyp-free frame.
    """
    # Thresholds half-way between two grey levels, so that rounding marks the same pixels in maps.
    cuts = [float(PROBABILITIES.searchsorted(one) - 0.5) / 255 for one in sorted(thresholds)]
    choices = list(itertools.product(cuts, sorted(min_regions)))
    counts = np.zeros((2, NUM_LEVELS), np.int64)
    surest: list[list[float]] = []
    for prediction, mask in frames:
        counts += joint_counts(prediction, mask)
        if not mask.any():
            surest.append([_surest_region(prediction, cut, share) for cut, share in choices])
    if not surest:
        raise ValueError("no frame without a polyp, so there is no rate of false alarms to fit")
    marked = np.sort(surest, axis=0)[::-1]  # [frames, choices]
    num_allowed = int(false_alarm_rate * len(surest) + 1e-9)
    confidences = [_next_confidence(one) for one in marked[num_allowed]]
    points = [
        OperatingPoint(cut, share, confidence=confidence)
        for (cut, share), confidence in zip(choices, confidences, strict=True)
        if confidence <= 1
    ] or [OperatingPoint(*choices[-1], confidence=1.0)]
    detected = np.zeros(len(points), np.int64)
    num_polyp = 0
    for prediction, mask in frames:
        if mask.any():
            num_polyp += 1
            detected += [_is_detected(one.mask(prediction), mask, detection_iou) for one in points]
    best = int(detected.argmax())
    point = points[best]
    choice = choices.index((point.threshold, point.min_region))
    is_marked = (marked[:, choice] > 0) & (marked[:, choice] >= point.confidence)
    temperature = fit_temperature(counts)
    return Fit(
        replace(
            point,
            threshold=float(expit(logit(point.threshold) / temperature)),
            temperature=temperature,
        ),
        float(np.mean(is_marked)),
        int(detected[best]) / num_polyp if num_polyp else None,
        len(surest),
        num_polyp,
    )


def fit_temperature(counts: IntArray) -> float:
    """Return the temperature with the smallest log loss, between 0.1 and 10.

    Of counts [2, 256], see `joint_counts`; 1 where the pixels are all polyp or all background,
    which no temperature describes.
    """
    from scipy.optimize import minimize_scalar  # half a second, which few need

    if not counts.any(axis=1).all():
        return 1.0
    logits = logit(np.clip(PROBABILITIES, _CERTAIN, 1 - _CERTAIN))

    def loss(log_temperature: float) -> float:
        scaled: FloatArray = logits / np.exp(log_temperature)
        return -float(counts[1] @ log_expit(scaled) + counts[0] @ log_expit(-scaled))

    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def large_regions(
    mask: BoolArray,
    smallest: float,
    levels: np.ndarray | None = None,
    confidence: float = 0.0,
) -> BoolArray:
    """Return a mask without its regions that are of fewer pixels or less certain, see `regions`."""
    if (smallest <= 1 and not confidence) or not mask.any():
        return mask
    labels, areas, means = regions(mask, levels if confidence else None)
    is_kept = (areas >= smallest) & (means >= confidence)
    is_kept[0] = False  # the background
    return np.asarray(is_kept[labels])


def regions(
    mask: BoolArray, levels: np.ndarray | None = None
) -> tuple[NDArray[np.int32], IntArray, FloatArray]:
    """Return the regions (8-connected) of a mask; 0 is the background.

    Args:
        mask: Marked pixels [H, W].
        levels: Probability x 255 [H, W]; None for a mean probability of 1.

    Returns:
        Number of each pixel's region [H, W], area of each region, and its mean probability.
    """
    number, labels, rows, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = rows[:, cv2.CC_STAT_AREA]
    if levels is None:
        return labels, areas, np.ones(number)
    inside = labels[mask]
    sums = np.bincount(inside, weights=levels[mask], minlength=number)
    return labels, areas, sums / np.maximum(areas, 1) / 255


def _surest_region(prediction: ByteArray, cut: float, min_region: float) -> float:
    """Return the highest mean probability of a map's regions of this size; 0 without one."""
    _, areas, means = regions(prediction >= cut * 255, prediction)
    is_large = areas >= min_region * prediction.size
    is_large[0] = False
    return float(means[is_large].max(initial=0.0))


def _next_confidence(mean: float) -> float:
    """Return the lowest confidence at which a region of this mean probability is removed."""
    return (math.floor(mean * _STEPS) + 1) / _STEPS if mean else 0.0


def _is_detected(marked: BoolArray, mask: BoolArray, detection_iou: float) -> bool:
    overlap = np.count_nonzero(marked & mask)
    union = np.count_nonzero(marked | mask)
    return bool(overlap > 0 and overlap >= detection_iou * union)
