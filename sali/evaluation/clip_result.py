"""The result of a scored clip: sums of fixed size, which are kept until the evaluation ends."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sali.metrics.clinical import ClipTally
from sali.metrics.counted_frame import FloatArray
from sali.metrics.curves import NUM_THRESHOLDS
from sali.metrics.operating_point import OperatingPoint
from sali.metrics.vps import NUM_VALUES, curve
from sali.run.io import atomic_write

COUNTS = ("frames", "missing", "full_masks", "polyp_frames", "low_frames", "unannotated")


@dataclass
class PartScores:
    """Sums over the frames of a clip, or over its low-quality frames.

    Attributes:
        tally: Sums of the clinical protocol; of no frame under VPS alone.
        metrics: Sum over frames, and number of frames that have the score, by frame metric.
        num_scored: Frames in the VPS scores.
        vectors: Sum of their score vectors [1541].
        precisions: Sum of their precision [256] over the thresholds of Dice.
    """

    tally: ClipTally
    metrics: dict[str, Sequence[float]]
    num_scored: int = 0
    vectors: FloatArray = field(default_factory=lambda: np.zeros(NUM_VALUES))
    precisions: FloatArray = field(default_factory=lambda: np.zeros(NUM_THRESHOLDS))

    @property
    def vector(self) -> FloatArray:
        """Mean score vector; zeros without a frame."""
        return self.vectors / max(self.num_scored, 1)

    @property
    def precision(self) -> FloatArray:
        """Mean precision; zeros without a frame."""
        return self.precisions / max(self.num_scored, 1)

    def mean(self, name: str) -> float | None:
        """Return the mean of a frame metric over the frames that have it; None without one."""
        total, number = self.metrics[name]
        return total / number if number else None

    def add(self, scores: FloatArray | None, values: Mapping[str, float | None]) -> None:
        """Add the score vector of a frame, if it counts there, and its frame metrics."""
        for name, value in values.items():
            if value is not None:
                total, number = self.metrics[name]
                self.metrics[name] = total + value, number + 1
        if scores is not None:
            self.num_scored += 1
            self.vectors += scores
            # Of Dice and sensitivity, as 2 / dice = 1 / precision + 1 / sensitivity.
            sensitivity, dice = curve(scores, "sensitivity"), curve(scores, "dice")
            precision = np.zeros_like(dice)
            np.divide(dice * sensitivity, 2 * sensitivity - dice, out=precision, where=dice > 0)
            self.precisions += precision


@dataclass
class ClipResult:
    """Scores of one clip by one method; its size does not depend on the number of frames.

    Attributes:
        subset: Subset that the clip is scored in.
        name: Name of the clip.
        counts: By the names of `COUNTS`: frames; frames without a map; masks that fill the image;
            frames with a polyp; frames in low-quality runs; frames without a mask. Frames that no
            score needs are only in the first.
        whole: Scores of all frames.
        low: Scores of the frames in low-quality runs.
        point: Operating point of further clinical scores; None without them.
        at_point: Sums of the clinical protocol of the masks at this point.
    """

    subset: str
    name: str
    counts: dict[str, int]
    whole: PartScores
    low: PartScores
    point: OperatingPoint | None = None
    at_point: ClipTally | None = None

    def save(self, path: Path, key: str) -> None:
        """Write the result in one go; `key` says what it was computed from."""
        content = {"key": key, "result": asdict(self)}
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(content, default=lambda array: array.tolist()))

    @classmethod
    def load(cls, path: Path, key: str) -> "ClipResult | None":
        """Return a stored result if it was computed from the same; else None."""
        content = json.loads(path.read_text()) if path.is_file() else {}
        if content.get("key") != key:
            return None
        stored = content["result"]
        for part in ("whole", "low"):
            tally = ClipTally(**_with_arrays(stored[part]["tally"]))
            stored[part] = PartScores(**{**_with_arrays(stored[part]), "tally": tally})
        if stored["point"] is not None:
            stored["point"] = OperatingPoint(**stored["point"])
            stored["at_point"] = ClipTally(**_with_arrays(stored["at_point"]))
        return cls(**stored)


def _with_arrays(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(v) if isinstance(v, list) else v for name, v in stored.items()}
