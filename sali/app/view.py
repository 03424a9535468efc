"""What a page shows of a run: numbers as text, pictures as data URIs; nothing touches the disk."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sali.app.play import ENDS, Latest, PastFrame, Play
from sali.metrics.operating_point import OperatingPoint
from sali.report.overlay import draw_overlay, jpeg

HEAT_STRENGTH = 0.75
OPENING: dict[str, Any] = {
    **{"state": "opening", "line": "Opening the page", "message": "", "done": 0},
    **{"picture": "", "alt": "", "numbers": [], "reads": []},
}


@dataclass(frozen=True)
class View:
    """How results are drawn: width, quality of JPEGs, past frames that are shown and kept."""

    width: int
    jpeg_quality: int
    reads: int
    keep: int

    def show(self, play: Play | None, point: OperatingPoint) -> dict[str, Any]:
        """Return what the template of the page needs."""
        empty = {**OPENING, "threshold": f"{point.threshold:.2f}"}
        if play is None:
            return {**empty, "state": "idle", "line": "Pick a clip and press Start."}
        state, latest = play.state, play.latest
        line = f"{state.capitalize()}: {play.source.name}"
        line += f", {len(play.peaks)} frames" if state in ENDS else ""
        line += f", {play.unreadable} not readable" if play.unreadable else ""
        shown = {**empty, "state": state, "line": line, "message": play.message}
        return {**shown, **self._result(play, latest, point)} if latest else shown

    def _result(self, play: Play, latest: Latest, point: OperatingPoint) -> dict[str, Any]:
        result, number, length = latest.result, latest.result.frame.number + 1, play.length
        picture, probability = shrink(result.picture, self.width), result.probability
        area = _percent(float(point.mask(probability).mean()))
        if probability.shape != picture.shape[:2]:
            probability = cv2.resize(probability, picture.shape[1::-1])
        drawn = draw_overlay(picture, probability, point=point)
        read = result.attention
        most = most_read(
            play.past, read.by_frame() if read else {}, latest.index, self.reads, self.keep
        )
        numbers = [
            ("frame", "Frame", f"{number} / {length}" if length else f"{number}"),
            ("time", "Time", _clock(result.time) or "-"),
            ("area", "Area of polyp", area),
            ("rate", "Speed", f"{latest.rate:.1f} / s" if latest.rate else "-"),
            ("latency", "Latency, mean", f"{np.mean(latest.latencies):.0f} ms"),
            ("high", "Latency, 95 %", f"{np.quantile(latest.latencies, 0.95):.0f} ms"),
            ("memory", "Memory", f"{read.whole_frames:.1f} frames" if read else "-"),
        ]
        return {
            "done": 1 if play.state == "finished" else number / length if length else 0,
            "picture": self._data_uri(drawn),
            "alt": f"Frame {number} with the mask, {area} of the picture",
            "numbers": [dict(zip(("name", "label", "text"), row, strict=True)) for row in numbers],
            "reads": [
                {
                    "picture": self._data_uri(heat(past.picture, share)),
                    "share": _percent(float(share.sum())),
                    "label": f"frame {past.number + 1}, "
                    + (_clock(past.time) or f"{number - 1 - past.number} back"),
                }
                for past, share in most
            ],
        }

    def _data_uri(self, picture: np.ndarray) -> str:
        data = base64.b64encode(jpeg(picture, self.jpeg_quality))
        return f"data:image/jpeg;base64,{data.decode()}"


def most_read(
    past: dict[int, PastFrame], shares: Mapping[int, np.ndarray], now: int, count: int, keep: int
) -> list[tuple[PastFrame, np.ndarray]]:
    """Return the at most `count` past frames that result number `now` read most, in order.

    Each comes with its share of the read, [h, w]. Past frames that the memory does not hold any
    more are removed; at most `keep` stay.
    """
    total = {i: float(share.sum()) for i, share in shares.items() if i in past}
    known = sorted(total, key=lambda i: (-total[i], -i))
    for index in [*(i for i in list(past) if i < now and i not in total), *known[keep:]]:
        past.pop(index, None)  # another event of the page may have done it
    return [(past[i], shares[i]) for i in known[: min(count, keep)] if total[i]]


def heat(picture: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return a grey picture with colours where it was read, from its own largest share down."""
    level = cv2.resize(share.astype(np.float32), picture.shape[1::-1])
    level = level / max(float(level.max()), 1e-12)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    strength = HEAT_STRENGTH * level[..., None]
    return (grey * (1 - strength) + colours * strength).astype(np.uint8)


def shrink(picture: np.ndarray, width: int) -> np.ndarray:
    """Return a picture RGB uint8 [H, W, 3] at most `width` pixels wide."""
    if picture.shape[1] <= width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    step = max(1, picture.shape[1] // (2 * width))  # a mean of all pixels takes ten times as long
    return cv2.resize(picture[::step, ::step], (width, height))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _clock(time: float | None) -> str:
    if time is None:
        return ""
    minutes, seconds = divmod(max(0.0, time), 60)
    return f"{minutes:.0f}:{seconds:05.2f}"
