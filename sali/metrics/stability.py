"""Temporal stability of masks: does the shape stay while the object moves?"""

import numpy as np

from sali.metrics.counted_frame import BoolArray, row_and_column_sums


def centred_iou(first: BoolArray, second: BoolArray) -> float:
    """IoU of two masks after moving one so that their centroids meet.

    Moving an object does not change the value, changing its outline does. This is a definition
    of ours in the spirit of the temporal stability T of DAVIS (Perazzi et al., "A benchmark
    dataset and evaluation methodology for video object segmentation", CVPR 2016), which also
    compares the shapes of consecutive masks apart from their motion, but by matching contour
    descriptors; this one needs neither contours nor optical flow. Masks move by whole pixels;
    what leaves the image counts as not overlapping.

    Args:
        first: Bool [H, W].
        second: Bool [H, W].

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
    steps = [round(a - b) for a, b in zip(_centroid(first), _centroid(second), strict=True)]
    kept = tuple(slice(max(0, step), min(0, step) or None) for step in steps)
    moved = tuple(slice(max(0, -step), min(0, -step) or None) for step in steps)
    intersection = int(np.count_nonzero(first[kept] & second[moved]))
    return intersection / (sum(areas) - intersection)


def _centroid(mask: BoolArray) -> tuple[float, float]:
    """Row and column of the centre of a mask that is not empty."""
    per_row, per_column = row_and_column_sums(mask)
    area = per_row.sum()
    row, column = (sums @ np.arange(sums.size) / area for sums in (per_row, per_column))
    return float(row), float(column)
