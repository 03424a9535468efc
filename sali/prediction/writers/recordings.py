"""Recordings for the Rerun viewer, https://rerun.io: what was seen, found and remembered."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import cv2
import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from sali.data.index import Clip
from sali.errors import DataError
from sali.metrics.operating_point import OperatingPoint
from sali.models.contract import Attention
from sali.prediction.result import ClipWriter, Result, is_own
from sali.prediction.sources import Source
from sali.report.overlay import FOOTER, PREDICTION_RGB, jpeg

log = logging.getLogger(__name__)

APPLICATION = "sali"
FRAME, TIME = "frame", "time"
"""Timelines: number of the frame, and seconds of a video."""
ROOM = 2**18
"""Bytes that a recording without frames fits in."""
LINES = {
    "found/area": ("area, share of the frame", (0, 114, 178)),
    "found/peak": ("largest probability", (230, 159, 0)),
    "memory/whole_frames": ("elements, in whole frames", (0, 114, 178)),
    "memory/frames_held": ("frames that they come from", (230, 159, 0)),
}
"""Name and colour of what is plotted."""


def recordings(
    root: Path, point: OperatingPoint, about: Mapping[str, Any], options: Mapping[str, Any]
) -> ClipWriter:
    """Return a writer of `<clip>.rrd`; an unfinished one is kept as `<clip>.partial.rrd`.

    `about` are facts about the whole prediction, `options` the last arguments of `RerunFile`.
    """

    def begin(source: Source, saved: dict[str, Any] | None) -> RerunFile:
        facts = {"clip": source.name, "operating_point": asdict(point), **about}
        path, of_video = root / f"{source.name}.rrd", not isinstance(source, Clip)
        return RerunFile(path, point, of_video, facts, **options)

    return ClipWriter(
        root,
        begin,
        suffix=".rrd",
        knows=lambda path: is_own(path, APPLICATION),
        resumable=False,
    )


class _Past(NamedTuple):
    """A frame that the memory may still hold elements of."""

    number: int
    picture: bytes
    size: tuple[int, int]


class RerunFile:
    """A recording, written as `<stem>.partial.rrd` and renamed when it is whole.

    An unfinished one keeps that name and opens as far as it goes. Every frame has:

    - `frame/picture`, and `frame/mask`: lines around the mask.
    - `probability`: a grey picture, white for 1.
    - `found/area`: share of the frame that is polyp; `found/peak`: its largest probability.

    And where it read the memory:

    - `memory/whole_frames`: what the memory held, in whole frames; `memory/frames_held`: the number
      of frames that this came from.
    - `reads/shares`: how much of the reading went to each of these.
    - `most_read/frame`: number of the one that got most; `most_read/past/picture` and
      `most_read/past/cells`: that frame, and what was read where in it.

    Frames of videos have times. Pictures of more than `height` pixels are scaled down; a killed
    process loses at most `flush_seconds`.

    Raises:
        DataError: It cannot be written.
    """

    def __init__(
        self,
        path: Path,
        point: OperatingPoint,
        of_video: bool,
        about: Mapping[str, Any],
        height: int,
        jpeg_quality: int,
        flush_seconds: float,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self.partial = path, path.with_name(f"{path.stem}.partial{path.suffix}")
        self._point, self._height, self._jpeg_quality = point, height, jpeg_quality
        self._count = 0
        self._past: dict[int, _Past] = {}
        self._shown: tuple[int, tuple[int, int]] | None = None
        try:  # Rerun would wait for ever where there is no room for its first bytes
            self.partial.write_bytes(bytes(ROOM))
        except OSError as error:
            raise DataError(f"cannot write {self.partial}: {error}") from error
        config = rr.ChunkBatcherConfig.DEFAULT()
        config.flush_tick = flush_seconds
        self._stream = rr.RecordingStream(APPLICATION, recording_id=uuid4(), batcher_config=config)
        # Times of the clip, not of the computation.
        self._stream.set_log_time_enabled(False)
        self._stream.set_log_tick_enabled(False)
        self._stream.save(self.partial, default_blueprint=layout(of_video))
        self._stream.send_recording_name(path.stem)
        # What holds for all frames.
        text = rr.TextDocument(as_markdown(about), media_type="text/markdown")
        self._stream.log("about", text, static=True)
        for entity, (name, colour) in LINES.items():
            self._stream.log(entity, rr.SeriesLines(names=name, colors=colour), static=True)
        pen = rr.LineStrips2D.from_fields(colors=PREDICTION_RGB, radii=rr.Radius.ui_points(1.5))
        self._stream.log("frame/mask", pen, static=True)
        heat = rr.DepthImage.from_fields(colormap="inferno")
        self._stream.log("most_read/past/cells", heat, static=True)

    def write(self, result: Result) -> None:
        """Log the next frame."""
        log = self._stream.log
        self._stream.set_time(FRAME, sequence=result.frame.number)
        if result.time is not None:
            self._stream.set_time(TIME, duration=result.time)
        probability = result.probability
        mask = self._point.mask(probability)
        size = self._size(mask.shape[0], mask.shape[1])
        picture = jpeg(_scaled(result.picture, size), self._jpeg_quality)
        grey = (_scaled(probability, size) * 255).round().astype(np.uint8)
        log("frame/picture", rr.EncodedImage(contents=picture, media_type="image/jpeg"))
        log("frame/mask", rr.LineStrips2D(outlines(mask, size)))
        png = cv2.imencode(".png", grey)[1].tobytes()
        log("probability", rr.EncodedImage(contents=png, media_type="image/png"))
        log("found/area", rr.Scalars(mask.mean()))
        log("found/peak", rr.Scalars(probability.max()))
        # The memory counts the frames that were segmented; numbers count unreadable ones too.
        self._past[self._count] = _Past(result.frame.number, picture, size)
        if result.attention is not None:
            self._write_memory(result.attention)
        self._count += 1

    def _write_memory(self, attention: Attention) -> None:
        log = self._stream.log
        shares = attention.by_frame()
        self._past = {i: self._past[i] for i in {*shares, self._count} if i in self._past}
        log("memory/whole_frames", rr.Scalars(attention.whole_frames))
        log("memory/frames_held", rr.Scalars(len(shares)))
        numbers = np.array([self._past[index].number for index in shares])
        totals = np.array([share.sum() for share in shares.values()])
        bars = rr.BarChart(totals, abscissa=numbers, color=LINES["memory/whole_frames"][1])
        log("reads/shares", bars)
        best = list(shares)[int(totals.argmax())]
        past = self._past[best]
        log("most_read/frame", rr.Scalars(past.number))
        if self._shown != (past.number, shares[best].shape):
            self._shown = past.number, shares[best].shape
            picture = rr.EncodedImage(contents=past.picture, media_type="image/jpeg")
            log("most_read/past/picture", picture)
            height, width = np.divide(past.size, shares[best].shape)
            log("most_read/past/cells", rr.Transform3D(scale=(width, height, 1)))
        log("most_read/past/cells", rr.DepthImage(shares[best]))

    def close(self, whole: bool) -> None:
        """Write what is still held; give the file its name if the clip is `whole`."""
        try:
            self._stream.flush()
        except RuntimeError as error:
            message = f"cannot write {self.partial}: {error}; check free space"
            if whole:
                raise DataError(message) from error
            log.warning("%s", message)  # another error ended the work
        finally:
            self._stream.disconnect()
        if whole:
            self.partial.replace(self._path)
        else:
            log.warning("unfinished recording, up to where it stopped: %s", self.partial)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        factor = min(1, self._height / height)
        return max(1, round(height * factor)), max(1, round(width * factor))


def _scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)


def outlines(mask: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """Return closed lines around the areas of a mask, bool [H, W], and around their holes.

    Each is float [N, 2], (x, y) in pixels of a picture of `size`, (height, width); the centres of
    pixels lie at halves.
    """
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.divide(size, mask.shape)[::-1]
    return [(np.concatenate([line, line[:1]])[:, 0] + 0.5) * scale for line in found]


def as_markdown(about: Mapping[str, Any]) -> str:
    """Return facts as a list, one level of mappings spread out."""
    lines = [f"**{FOOTER}.** Not for diagnosis.", ""]
    for name, value in about.items():
        inner = value.items() if isinstance(value, Mapping) else ()
        shown = ", ".join(f"{k} {v}" for k, v in inner) or value
        lines.append(f"- **{name}**: `{shown}`")
    return "\n".join(lines)


def layout(of_video: bool) -> rrb.Blueprint:
    """Return what the viewer shows when it opens a recording."""
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(
                rrb.Spatial2DView(origin="frame", name="frame and mask"),
                rrb.Spatial2DView(origin="probability", name="probability"),
                rrb.Spatial2DView(origin="most_read/past", name="past frame that was read most"),
            ),
            rrb.Horizontal(
                rrb.TimeSeriesView(
                    origin="found", name="found", axis_y=rrb.ScalarAxis(range=(0, 1.05))
                ),
                rrb.TimeSeriesView(origin="memory", name="in the memory"),
                rrb.BarChartView(origin="reads", name="share of the reading, by past frame"),
                rrb.TextDocumentView(origin="about", name="about"),
            ),
            row_shares=[3, 2],
        ),
        rrb.TimePanel(timeline=TIME if of_video else FRAME, state="collapsed"),
        auto_views=False,
        collapse_panels=True,
    )
