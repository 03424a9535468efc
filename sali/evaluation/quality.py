"""Runs of low-quality frames in a clip: see `sali.metrics.frame_quality` for the definition."""

from typing import NamedTuple

import numpy as np

from sali.errors import FrameError
from sali.evaluation.ground_truth import TruthClip, frame_files
from sali.evaluation.reading import read_frame
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
        measures: one per frame.
        broken: names of the limits that each frame breaks.
        is_low: whether each frame is in a run of low-quality frames.
        runs: (start, stop) of each run, stop not included.
    """

    measures: list[FrameQuality]
    broken: list[tuple[str, ...]]
    is_low: list[bool]
    runs: list[tuple[int, int]]


def measure_clip(clip: TruthClip, limits: QualityLimits, min_run: int) -> ClipQuality:
    """Measures all frames of a clip, one in memory at a time.

    Args:
        clip: with a frame folder.
        limits: what makes a frame bad.
        min_run: shortest run of bad frames that counts.

    Raises:
        FrameError: a frame that cannot be read or has another size than the first ones.
    """
    paths = frame_files(clip)
    view = field_of_view(read_frame(path) for path in paths[:: -(-len(paths) // _VIEW_FRAMES)])
    measures = []
    for path in paths:
        frame = read_frame(path)
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
