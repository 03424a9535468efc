"""The 17 scores of the VPS protocol: per frame, per clip, per subset.

The protocol is that of the VPS toolbox (Ji et al., "Video polyp segmentation: a deep learning
perspective", Machine Intelligence Research 2022). Scores travel as one vector: five numbers and
six curves over 256 thresholds. A clip's vector is the mean over its frames, a subset's the
unweighted mean over its clips; only then does a curve become a maximum or a mean, so that
`dice_max` is one threshold for the whole subset.

What the protocol hides: each map is stretched to [0, 1] before anything is computed, and frames
without a polyp score 0 for any prediction. `sali.metrics.clinical` reports what that leaves
out.
"""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from sali.metrics.counted_frame import ByteArray, CountedFrame, FloatArray
from sali.metrics.curves import (
    NUM_THRESHOLDS,
    adaptive_threshold,
    confusion_at,
    e_measure,
    f_measure,
    mean_absolute_error,
    overlap_curves,
)
from sali.metrics.s_measure import s_measure
from sali.metrics.weighted_f import weighted_f

SCALARS = ("s_measure", "weighted_f", "mae", "e_adaptive", "f_adaptive")
CURVES = ("e", "f", "sensitivity", "specificity", "dice", "iou")
NUM_VALUES = len(SCALARS) + len(CURVES) * NUM_THRESHOLDS
# Both families of thresholds run from the highest to the lowest.
_THRESHOLDS = np.linspace(1, 0, NUM_THRESHOLDS)
_LEVELS = np.arange(NUM_THRESHOLDS - 1, -1, -1, dtype=np.float64)
METRIC_NAMES = (
    "s_measure",
    "weighted_f",
    "mae",
    "e_adaptive",
    "e_mean",
    "e_max",
    "f_adaptive",
    "f_mean",
    "f_max",
    "sensitivity_mean",
    "sensitivity_max",
    "specificity_mean",
    "specificity_max",
    "dice_mean",
    "dice_max",
    "iou_mean",
    "iou_max",
)


def frame_scores(prediction: ByteArray, mask: NDArray[np.bool_ | np.uint8]) -> FloatArray:
    """Score one map, uint8 [H, W], against its ground truth, bool or uint8 [H, W], see `as_mask`.

    Returns:
        [1541]: the `SCALARS`, then the `CURVES`, each from the highest threshold to the lowest.

    Raises:
        ValueError: If the type or the shape of an array is not as stated.
    """
    frame = CountedFrame.count(prediction, mask)
    over_thresholds = confusion_at(frame.counts, frame.values, _THRESHOLDS)
    # The F- and the E-measure see a map in whole numbers (VPS toolbox protocol). Levels that the
    # frame does not contain may lie outside [0, 1]; they count nothing.
    levels = np.floor(np.clip(frame.values, 0, 1) * 255)
    over_levels = confusion_at(frame.counts, levels, _LEVELS)
    adaptive = confusion_at(frame.counts, frame.values, np.asarray(adaptive_threshold(frame)))
    scalars = [
        s_measure(frame),
        weighted_f(frame),
        mean_absolute_error(frame.counts, frame.values),
        float(e_measure(adaptive)),
        float(f_measure(adaptive)),
    ]
    curves = [e_measure(over_levels), f_measure(over_levels), *overlap_curves(over_thresholds)]
    return np.concatenate([scalars, *curves])


def match_size(prediction: ByteArray, shape: tuple[int, int]) -> ByteArray:
    """Resize a map to `shape` = (H, W) as the protocol does: OpenCV bilinear, on 8 bits."""
    if prediction.shape == shape:
        return prediction
    return np.asarray(cv2.resize(prediction, shape[::-1]), np.uint8)


def reduce_subset(clips: Iterable[FloatArray]) -> FloatArray:
    """Return the unweighted mean over clips of their vectors [1541]."""
    vectors = [*clips]
    if not vectors:
        raise ValueError("subset: got 0 clips to average, wanted at least 1")
    return np.asarray(np.mean(vectors, axis=0))


def curve(vector: FloatArray, name: str) -> FloatArray:
    """Return one of the `CURVES`, [..., 256], out of score vectors [..., 1541]."""
    if name not in CURVES:
        raise ValueError(f"curve: got {name!r}, wanted one of {', '.join(CURVES)}")
    start = len(SCALARS) + CURVES.index(name) * NUM_THRESHOLDS
    return vector[..., start : start + NUM_THRESHOLDS]


def scores(vector: FloatArray) -> dict[str, FloatArray]:
    """Compute the 17 scores of score vectors [..., 1541], under the names of `METRIC_NAMES`.

    Returns:
        Arrays [...]: the scalars, and mean and maximum of each curve.
    """
    found = {name: vector[..., index] for index, name in enumerate(SCALARS)}
    for name in CURVES:
        values = curve(vector, name)
        found[f"{name}_mean"] = values.mean(axis=-1)
        found[f"{name}_max"] = values.max(axis=-1)
    return {name: found[name] for name in METRIC_NAMES}


def summary(vector: FloatArray) -> dict[str, float]:
    """Return the 17 scores of one vector [1541] as plain numbers."""
    return {name: float(value) for name, value in scores(vector).items()}
