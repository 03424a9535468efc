"""What a page is shown: numbers as text, pictures as data URIs; nothing touches the disk."""

import base64
from typing import Any

import cv2
import numpy as np

from sali.app.job import Job, Latest
from sali.app.reads import encode_jpeg, most_read, shrink
from sali.prediction import Result
from sali.report.overlay import draw_overlay


class View:
    """How results are drawn.

    Args:
        width: of the frame on the page, pixels; larger ones are scaled down before drawing.
        quality: of JPEGs, 1 to 100.
        reads: past frames shown beside.
    """

    def __init__(self, width: int, quality: int, reads: int) -> None:
        self._width = width
        self._quality = quality
        self._reads = reads

    def frame(self, latest: Latest, threshold: float) -> dict[str, Any]:
        """The frame with tint and contour, and what changes with the threshold."""
        result = latest.result
        picture = shrink(result.picture, self._width)
        height, width = picture.shape[:2]
        probability = result.probability
        area = float((probability >= threshold).mean())
        if probability.shape != (height, width):
            size = (width, height)
            probability = cv2.resize(probability, size, interpolation=cv2.INTER_LINEAR)
        drawn = draw_overlay(picture, probability, threshold=threshold)
        return {
            "picture": self._data_uri(drawn),
            "alt": f"Frame {result.frame.number} with the mask, {_percent(area)} of the picture",
            "area": _percent(area),
            "ready": latest.ready,
        }

    def numbers(self, job: Job, latest: Latest) -> dict[str, str]:
        """What is told of a result in words and figures."""
        number, speed = latest.result.frame.number, latest.speed
        length = f" / {job.length}" if job.length else ""
        cap = job.options.max_frames
        return {
            "frame": f"{number + 1}{length}",
            "time": _clock(latest.result.time),
            "rate": f"{speed.rate:.1f} / s" if speed else "",
            "latency": f"{speed.mean:.0f} ms" if speed else "",
            "high": f"{speed.high:.0f} ms" if speed else "",
            "memory": f"{latest.memory_frames:.1f} of {cap} frames" if cap else "off",
        }

    def reads(self, latest: Latest) -> list[dict[str, str]]:
        """The past frames that the result read most."""
        attention = latest.result.attention
        shares = {} if attention is None else attention.by_frame()
        return [
            {
                "picture": self._data_uri(read.picture),
                "share": _percent(read.share),
                "label": _name(latest.result, read.frame.number, read.frame.time),
            }
            for read in most_read(shares, latest.past, self._reads)
        ]

    def _data_uri(self, picture: np.ndarray) -> str:
        data = encode_jpeg(picture, self._quality)
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _clock(time: float | None) -> str:
    if time is None:
        return ""
    minutes, seconds = divmod(max(0.0, time), 60)
    return f"{minutes:.0f}:{seconds:05.2f}"


def _name(current: Result, number: int, time: float | None) -> str:
    back = current.frame.number - number
    return f"frame {number + 1}, {_clock(time) or f'{back} back'}"
