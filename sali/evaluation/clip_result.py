"""What is kept of a scored clip: sums of fixed size, and how they are stored."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from sali.metrics.clinical import ClipTally
from sali.metrics.curves import NUM_THRESHOLDS
from sali.metrics.histogram import FloatArray
from sali.metrics.vps import NUM_VALUES
from sali.run.io import atomic_write

COUNTS = ("frames", "missing", "full_masks", "polyp_frames", "low_frames")


@dataclass(frozen=True)
class PartScores:
    """Scores of the frames of a clip, or of its low-quality frames.

    Attributes:
        num_scored: frames in the VPS figures.
        vector: their mean score vector [1541]; meaningless without a frame.
        precision: their mean precision [256] over the thresholds of Dice.
        tally: sums of the clinical protocol over its frames; of none under VPS alone.
    """

    num_scored: int
    vector: FloatArray
    precision: FloatArray
    tally: ClipTally

    def pack(self) -> FloatArray:
        """All in one vector, for a file."""
        number = np.asarray([self.num_scored], np.float64)
        return np.concatenate([number, self.vector, self.precision, self.tally.vector()])

    @classmethod
    def unpack(cls, packed: FloatArray) -> "PartScores":
        """Inverse of `pack`."""
        ends = np.cumsum([1, NUM_VALUES, NUM_THRESHOLDS])
        number, vector, precision, tally = np.split(packed, ends)
        return cls(int(number[0]), vector, precision, ClipTally.from_vector(tally))


@dataclass(frozen=True)
class ClipResult:
    """Scores of one clip by one method; its size does not depend on the number of frames.

    Attributes:
        subset: of the clip.
        name: of the clip.
        counts: by the names of `COUNTS`: frames; frames without a map; masks that fill the image;
            frames with a polyp; frames in low-quality runs. Frames that no figure needs are only
            in the first.
        whole: scores of all frames.
        low: scores of the frames in low-quality runs.
    """

    subset: str
    name: str
    counts: dict[str, int]
    whole: PartScores
    low: PartScores

    def save(self, path: Path, key: str) -> None:
        """Writes the result in one go; `key` says what it was computed from."""
        content = BytesIO()
        arrays: dict[str, Any] = {
            "key": key,
            "counts": [self.counts[name] for name in COUNTS],
            "whole": self.whole.pack(),
            "low": self.low.pack(),
        }
        np.savez(content, **arrays)
        with atomic_write(path) as partial:
            partial.write_bytes(content.getvalue())

    @classmethod
    def load(cls, path: Path, subset: str, name: str) -> "ClipResult":
        """Inverse of `save`."""
        with np.load(path) as stored:
            counts = dict(zip(COUNTS, stored["counts"].tolist(), strict=True))
            whole, low = (PartScores.unpack(stored[part]) for part in ("whole", "low"))
        return cls(subset, name, counts, whole, low)


def stored_key(path: Path) -> str | None:
    """What a stored result was computed from; None if there is none."""
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return str(stored["key"])
