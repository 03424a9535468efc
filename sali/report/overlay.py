"""Frames with what the network saw drawn over them."""

import cv2
import numpy as np

from sali.metrics.operating_point import OperatingPoint

FOOTER = "Research software, not a medical device"
PREDICTION_RGB = (64, 224, 255)
TRUTH_RGB = (255, 214, 64)
TINT_STRENGTH = 0.35
TEXT_RGB, OUTLINE_RGB = (255, 255, 255), (0, 0, 0)
TEXT_HEIGHT = 0.03
"""Of the frame's shorter side; never below eight pixels."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_PIXELS = 21
"""Height of the font's digits at scale 1."""


def draw_overlay(
    frame: np.ndarray,
    probability: np.ndarray,
    mask: np.ndarray | None = None,
    point: OperatingPoint | None = None,
) -> np.ndarray:
    """Return a frame with a tint by probability, and contours of prediction and true mask.

    Args:
        frame: RGB uint8 [H, W, 3].
        probability: Probability of polyp, [H, W], 0 to 1; its contour is cyan.
        mask: True mask, 0 or 1, [H, W]; its contour is yellow. None for no such contour.
        point: Which pixels of the probability are inside its contour; None for those from 0.5
            on.

    Returns:
        RGB uint8 [H, W, 3].
    """
    strength = TINT_STRENGTH * probability.astype(np.float32, copy=False)
    tint = np.empty_like(frame)
    cv2.rectangle(tint, (0, 0), frame.shape[1::-1], PREDICTION_RGB, cv2.FILLED)
    drawn = cv2.blendLinear(frame, tint, 1 - strength, strength)
    width = max(1, round(min(frame.shape[:2]) / 200))
    areas = [] if mask is None else [(mask > 0, TRUTH_RGB)]
    for area, colour in (*areas, ((point or OperatingPoint()).mask(probability), PREDICTION_RGB)):
        found, _ = cv2.findContours(area.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(drawn, found, -1, colour, width, cv2.LINE_AA)
    return drawn


def jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Return a picture RGB uint8 [H, W, 3] as a JPEG of a quality, 1 to 100."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    is_done, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_done
    return content.tobytes()


def draw_time(canvas: np.ndarray, seconds: float) -> None:
    """Write h:mm:ss.mmm into the lower left corner of a picture, white with a black outline."""
    height, width = canvas.shape[:2]
    text = clock(seconds)
    size = max(8.0, TEXT_HEIGHT * min(height, width))
    (text_width, _), _ = cv2.getTextSize(text, FONT, 1.0, 1)
    scale = min(size / FONT_PIXELS, 0.9 * width / text_width)
    stroke = max(1, round(scale * 1.5))
    corner = (round(size / 2), height - 1 - round(size / 2))
    for colour, thickness in ((OUTLINE_RGB, 3 * stroke), (TEXT_RGB, stroke)):
        cv2.putText(canvas, text, corner, FONT, scale, colour, thickness, cv2.LINE_AA)


def clock(seconds: float) -> str:
    """Return h:mm:ss.mmm, cut to whole milliseconds: a clock does not run ahead."""
    milliseconds = int(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
