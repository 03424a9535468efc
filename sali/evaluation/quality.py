"""Runs of low-quality frames in a clip: see `sali.metrics.frame_quality` for the definition."""

from typing import NamedTuple

import numpy as np

from sali.data.frames import read_frame
from sali.data.index import Clip
from sali.errors import FrameError
from sali.metrics.frame_quality import (
    FrameQuality,
    QualityLimits,
    consecutive_runs,
    field_of_view,
    frame_quality,
)

_VIEW_FRAMES = 12


class ClipQuality(NamedTuple):
    """Quality of the frames of a clip.

    Attributes:
        measures: Measures of each frame.
        broken: Names of the limits that each frame breaks.
        is_low: Whether each frame is in a run of low-quality frames.
        runs: (start, stop) of each run of bad frames, stop not included.
    """

    measures: list[FrameQuality]
    broken: list[tuple[str, ...]]
    is_low: list[bool]
    runs: list[tuple[int, int]]


def measure_clip(clip: Clip, limits: QualityLimits, min_run: int) -> ClipQuality:
    """Measure all frames of a clip, one in memory at a time.

    Args:
        clip: Clip with its frames.
        limits: Limits beyond which a frame is bad.
        min_run: Shortest run of bad frames that counts.

    Raises:
        FrameError: A frame that cannot be read or has another size than the first ones.
    """
    paths = clip.frames
    sampled = paths[:: -(-len(paths) // _VIEW_FRAMES)]
    view = field_of_view(read_frame(path)[0] for path in sampled)
    measures = []
    for path in paths:
        frame, _ = read_frame(path)
        if frame.shape[:2] != view.shape:
            raise FrameError(
                f"{path} has {frame.shape[1]} x {frame.shape[0]} pixels, the clip's first frame "
                f"{view.shape[1]} x {view.shape[0]}"
            )
        measures.append(frame_quality(frame, view if view.any() else None))
    broken = [limits.broken_by(measure) for measure in measures]
    runs = consecutive_runs((bool(names) for names in broken), min_run)
    is_low = np.zeros(len(paths), np.bool_)
    for start, stop in runs:
        is_low[start:stop] = True
    return ClipQuality(measures, broken, is_low.tolist(), runs)
