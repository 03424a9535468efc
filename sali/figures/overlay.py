"""Frames with what the network saw drawn over them."""

import cv2
import numpy as np

PREDICTION_RGB = (64, 224, 255)
TRUTH_RGB = (255, 214, 64)
TINT_STRENGTH = 0.35


def draw_overlay(
    frame: np.ndarray,
    probability: np.ndarray,
    mask: np.ndarray | None = None,
    threshold: float = 0.5,
) -> np.ndarray:
    """Tint by probability, contour of the prediction, and of the true mask if there is one.

    Args:
        frame: RGB uint8 [H, W, 3].
        probability: [H, W], 0..1.
        mask: 0/1 [H, W], drawn in yellow; the prediction is drawn in cyan.
        threshold: of the prediction's contour.

    Returns:
        RGB uint8 [H, W, 3].
    """
    strength = TINT_STRENGTH * probability[..., None]
    drawn = (frame * (1 - strength) + np.array(PREDICTION_RGB) * strength).astype(np.uint8)
    width = max(1, round(min(frame.shape[:2]) / 200))
    if mask is not None:
        _contour(drawn, mask > 0, TRUTH_RGB, width)
    _contour(drawn, probability >= threshold, PREDICTION_RGB, width)
    return drawn


def _contour(
    canvas: np.ndarray, area: np.ndarray, colour: tuple[int, int, int], width: int
) -> None:
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, colour, width, cv2.LINE_AA)


def contact_sheet(pictures: list[np.ndarray], columns: int, width: int) -> np.ndarray:
    """Pictures of any size as one sheet, row by row.

    Args:
        pictures: RGB uint8 [H, W, 3] each; at least one.
        columns: pictures in a row.
        width: of one picture in pixels; the first one's shape gives the height.
    """
    height = round(width * pictures[0].shape[0] / pictures[0].shape[1])
    cells = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in pictures]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return np.vstack(rows)
