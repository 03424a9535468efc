"""Scores of a map against its mask."""

import cv2
import numpy as np


def hausdorff(prediction: np.ndarray, mask: np.ndarray, level: int) -> float | None:
    """Return the Hausdorff distance of the marked pixels and the mask, in pixels.

    Args:
        prediction: Probability x 255, uint8 [H, W].
        mask: Ground truth, bool [H, W].
        level: Lowest grey level that is marked.

    Returns:
        None where either is empty.
    """
    areas = prediction >= level, mask
    if not all(area.any() for area in areas):
        return None
    away = [cv2.distanceTransform((~area).view(np.uint8), cv2.DIST_L2, 5) for area in areas]
    return float(max(away[1][areas[0]].max(), away[0][areas[1]].max()))
