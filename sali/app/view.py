"""What a page shows of a run: numbers as text, pictures as data URIs; nothing touches the disk."""

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sali.app.past import shrink
from sali.app.play import ENDS, Latest, Play
from sali.report.overlay import draw_overlay

OPENING: dict[str, Any] = {
    **{"state": "opening", "line": "Opening the page", "message": "", "done": 0},
    **{"picture": "", "alt": "", "numbers": [], "reads": []},
}


@dataclass(frozen=True)
class View:
    """How results are drawn.

    Attributes:
        width: Largest width of the frame on the page, pixels.
        jpeg_quality: Quality of JPEGs, 1 to 100.
        reads: Number of past frames that are shown as read most.
    """

    width: int
    jpeg_quality: int
    reads: int

    def show(self, play: Play | None, threshold: float) -> dict[str, Any]:
        """Return what the template of the page needs.

        Args:
            play: Run, if there is one.
            threshold: Probability from which on a pixel is polyp.
        """
        empty = {**OPENING, "threshold": f"{threshold:.2f}"}
        if play is None:
            return {**empty, "state": "idle", "line": "Pick a clip and press Start."}
        state, latest = play.state, play.latest
        line = f"{state.capitalize()}: {play.source.name}"
        line += f", {len(play.peaks)} frames" if state in ENDS else ""
        line += f", {play.unreadable} not readable" if play.unreadable else ""
        shown = {**empty, "state": state, "line": line, "message": play.message}
        return {**shown, **self._result(play, latest, threshold)} if latest else shown

    def _result(self, play: Play, latest: Latest, threshold: float) -> dict[str, Any]:
        result, number, length = latest.result, latest.result.frame.number + 1, play.length
        picture, probability = shrink(result.picture, self.width), result.probability
        area = _percent(float((probability >= threshold).mean()))
        if probability.shape != picture.shape[:2]:
            probability = cv2.resize(probability, picture.shape[1::-1])
        drawn = draw_overlay(picture, probability, threshold=threshold)
        read = result.attention
        shares = read.by_frame() if read else {}
        numbers = [
            ("frame", "Frame", f"{number} / {length}" if length else f"{number}"),
            ("time", "Time", _clock(result.time) or "-"),
            ("area", "Area of polyp", area),
            ("rate", "Speed", f"{latest.rate:.1f} / s" if latest.rate else "-"),
            ("latency", "Latency, mean", f"{latest.latency[0]:.0f} ms"),
            ("high", "Latency, 95 %", f"{latest.latency[1]:.0f} ms"),
            ("memory", "Memory", f"{read.whole_frames:.1f} frames" if read else "-"),
        ]
        return {
            "done": 1 if play.state == "finished" else number / length if length else 0,
            "picture": self._data_uri(drawn),
            "alt": f"Frame {number} with the mask, {area} of the picture",
            "numbers": [dict(zip(("name", "label", "text"), row, strict=True)) for row in numbers],
            "reads": [
                {
                    "picture": self._data_uri(picture),
                    "share": _percent(share),
                    "label": f"frame {past.number + 1}, "
                    + (_clock(past.time) or f"{number - 1 - past.number} back"),
                }
                for past, share, picture in play.album.most_read(shares, latest.index, self.reads)
            ],
        }

    def _data_uri(self, picture: np.ndarray) -> str:
        quality = [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality]
        _, data = cv2.imencode(".jpg", picture[..., ::-1], quality)
        return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _clock(time: float | None) -> str:
    if time is None:
        return ""
    minutes, seconds = divmod(max(0.0, time), 60)
    return f"{minutes:.0f}:{seconds:05.2f}"
