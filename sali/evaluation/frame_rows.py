"""One scored frame, and its row in frames.csv."""

import csv
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from sali.data.index import Clip
from sali.evaluation.quality import ClipQuality
from sali.evaluation.settings import Settings
from sali.metrics.clinical import FrameOutcome
from sali.metrics.counted_frame import BoolArray, ByteArray
from sali.metrics.frame_quality import FrameQuality
from sali.metrics.vps import METRIC_NAMES, FrameScores, summary


class Frame(NamedTuple):
    """One frame as it is scored.

    Attributes:
        position: In the clip, from 0.
        state: "there", "missing", or "unused" where no score needs it.
        mask: Bool [H, W]; None where the frame is not scored.
        prediction: Uint8 of any size; None likewise.
        is_scored: Whether it counts in the VPS scores.
        polyp_pixels: Foreground of the mask.
    """

    position: int
    state: str
    mask: BoolArray | None
    prediction: ByteArray | None
    is_scored: bool
    polyp_pixels: int | None = None


class Scored(NamedTuple):
    """Scores of a frame.

    Attributes:
        vps: Scores of the VPS protocol; None where the frame does not count.
        clinical: Outcome under the clinical protocol; None likewise.
        metrics: Frame metrics by name; None where the frame has no such score.
    """

    vps: FrameScores | None
    clinical: FrameOutcome | None
    metrics: dict[str, float | None]


def frame_columns(settings: Settings) -> list[str]:
    """Return the columns of frames.csv; `dice_max` and the like are of the frame's own curve."""
    columns = ["subset", "clip", "index", "frame", "map", "scored", "polyp_pixels"]
    if settings.with_vps:
        columns += METRIC_NAMES
    if settings.with_clinical:
        level = f"{settings.clinical.threshold:g}"
        columns += ["marked_pixels", f"dice_at_{level}", f"iou_at_{level}"]
        columns += ["detected", "false_positive"]
    columns += settings.frame_metrics
    if settings.quality:
        columns += [*FrameQuality._fields, "broken_limits", "low_quality"]
    return columns


def frame_row(
    truth: Clip,
    settings: Settings,
    frame: Frame,
    scored: Scored,
    quality: ClipQuality | None,
) -> dict[str, Any]:
    """Return one row of frames.csv; missing values are None or omitted."""
    row: dict[str, Any] = {
        "subset": truth.subset,
        "clip": truth.name,
        "index": frame.position,
        "frame": truth.stem(frame.position),
        "map": frame.state,
        "scored": int(frame.is_scored),
        "polyp_pixels": frame.polyp_pixels,
        **scored.metrics,
    }
    if scored.vps:
        row |= summary(scored.vps.vector())
    outcome = scored.clinical
    if outcome:
        level = f"{settings.clinical.threshold:g}"
        row |= {
            "marked_pixels": outcome.num_marked,
            f"dice_at_{level}": outcome.dice,
            f"iou_at_{level}": outcome.iou,
            "detected": int(outcome.is_detected) if outcome.num_polyp else None,
            "false_positive": None if outcome.num_polyp else int(outcome.is_false_positive),
        }
    if quality:
        row |= quality.measures[frame.position]._asdict()
        row["broken_limits"] = "+".join(quality.broken[frame.position])
        row["low_quality"] = int(quality.is_low[frame.position])
    return row


def rows_by_clip(path: Path) -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """Read frames.csv clip by clip: subset, clip and the rows of its frames in order."""
    with path.open(newline="") as file:
        for (subset, clip), rows in groupby(csv.DictReader(file), itemgetter("subset", "clip")):
            yield subset, clip, list(rows)
