"""The operating point of a network: how its probability becomes a mask.

A network that was trained on polyps marks specks on most frames without one. At a higher threshold,
and without small regions, it marks few of these and still finds most polyps: where that balance
lies is fitted on cases that were held out of the training, for a stated rate of false alarms.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
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

HALF = 128
"""Lowest grey level of a map, probability x 255, of at least 0.5."""
_CERTAIN = 0.5 / 255  # what a map rounds to 0 is anything below
_TEMPERATURES = 0.1, 10.0


@dataclass(frozen=True)
class OperatingPoint:
    """How a probability becomes a mask.

    Attributes:
        threshold: A pixel is polyp if its calibrated probability is at least this, in (0, 1).
        min_region: Smallest connected region (8 neighbours), as a share of the image in [0, 1);
            smaller ones are removed.
        temperature: Number that logits are divided by for the calibrated probability, above 0.
    """

    threshold: float = 0.5
    min_region: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for numbers out of range."""
        if not (0 < self.threshold < 1 and 0 <= self.min_region < 1 and self.temperature > 0):
            raise ValueError(
                f"operating point: got {asdict(self)}, wanted a threshold between 0 and 1, "
                "min_region in [0, 1) and a temperature above 0"
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
        if probability.dtype == np.uint8:
            cut = int(np.searchsorted(PROBABILITIES, cut))
        return large_regions(probability >= cut, self.min_region * probability.size)

    def calibrated(self, probability: np.ndarray) -> np.ndarray:
        """Return the calibrated probability [...] of a probability [...]."""
        if self.temperature == 1:
            return probability
        return expit(logit(np.clip(probability, 1e-6, 1 - 1e-6)) / self.temperature)


def large_regions(mask: BoolArray, smallest: float) -> BoolArray:
    """Return a mask [H, W] without its regions (8-connected) of fewer pixels than `smallest`."""
    if smallest <= 1 or not mask.any():
        return mask
    _, labels, rows, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    is_kept = rows[:, cv2.CC_STAT_AREA] >= smallest
    is_kept[0] = False  # the background
    return np.asarray(is_kept[labels])


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
    min_regions: Sequence[float] = (0.0,),
    detection_iou: float = 0.5,
) -> Fit:
    """Fit temperature, threshold and smallest region for a rate of false alarms.

    For each smallest region, two thresholds are tried: the lowest one at which at most this share
    of the polyp-free frames is marked, and 0.5 if it is higher. Of all pairs the one that detects
    the most polyp frames is taken, of equal ones that with the smaller regions. The temperature
    makes the log loss of the pixels smallest (Guo et al., "On calibration of modern neural
    networks", ICML 2017); it changes what a probability says, not which pixels are marked.

    Args:
        frames: Map, probability x 255 as uint8 [H, W], and mask, bool [H, W], of each frame; read
            twice.
        false_alarm_rate: Largest share of polyp-free frames that may be marked, in [0, 1).
        min_regions: Smallest regions to try, shares of the image.
        detection_iou: A polyp is detected if the mask overlaps it with at least this IoU; 0
            accepts any overlap.

    Returns:
        The operating point; where no threshold keeps the rate, the highest one with the largest
        regions, and the rate that it has.

    Raises:
        ValueError: No polyp-free frame, or a rate out of range.
    """
    if not 0 <= false_alarm_rate < 1:
        raise ValueError(f"false_alarm_rate: got {false_alarm_rate}, wanted a share in [0, 1)")
    shares = sorted(min_regions)
    counts = np.zeros((2, NUM_LEVELS), np.int64)
    peaks: list[list[int]] = []
    for prediction, mask in frames:
        counts += joint_counts(prediction, mask)
        if not mask.any():
            peaks.append([_highest_level(prediction, share) for share in shares])
    if not peaks:
        raise ValueError("no frame without a polyp, so there is no rate of false alarms to fit")
    highest = np.sort(peaks, axis=0)[::-1]  # [frames, shares]
    num_allowed = int(false_alarm_rate * len(peaks) + 1e-9)
    lowest = np.maximum(highest[num_allowed] + 1, 1)
    candidates = [
        (int(level), share)
        for share, own in zip(shares, lowest, strict=True)
        for level in dict.fromkeys((own, max(own, HALF)))
        if level < NUM_LEVELS
    ] or [(NUM_LEVELS - 1, shares[-1])]
    detected = np.zeros(len(candidates), np.int64)
    num_polyp = 0
    for prediction, mask in frames:
        if mask.any():
            num_polyp += 1
            detected += [
                _is_detected(
                    large_regions(prediction >= level, share * mask.size), mask, detection_iou
                )
                for level, share in candidates
            ]
    best = int(detected.argmax())
    level, share = candidates[best]
    temperature = fit_temperature(counts)
    # Half-way between two grey levels, so that rounding marks the same pixels in maps.
    threshold = float(expit(logit((level - 0.5) / 255) / temperature))
    rate = float(np.mean(highest[:, shares.index(share)] >= level))
    sensitivity = int(detected[best]) / num_polyp if num_polyp else None
    point = OperatingPoint(threshold, share, temperature)
    return Fit(point, rate, sensitivity, len(peaks), num_polyp)


def fit_temperature(counts: IntArray) -> float:
    """Return the temperature with the smallest log loss, between 0.1 and 10.

    Args:
        counts: Pixels by ground truth and grey level of the map, [2, 256].

    Returns:
        1 where the pixels are all polyp or all background, which no temperature describes.
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


def _highest_level(prediction: ByteArray, min_region: float) -> int:
    """Return the highest level at which a map has a region of this size; 0 if none has above 0."""
    low, high = 0, int(prediction.max())
    if not min_region:
        return high
    while low < high:  # a region that is there at one level is there, or larger, at all below
        middle = (low + high + 1) // 2
        if large_regions(prediction >= middle, min_region * prediction.size).any():
            low = middle
        else:
            high = middle - 1
    return low


def _is_detected(marked: BoolArray, mask: BoolArray, detection_iou: float) -> bool:
    overlap = np.count_nonzero(marked & mask)
    union = np.count_nonzero(marked | mask)
    return bool(overlap > 0 and overlap >= detection_iou * union)
