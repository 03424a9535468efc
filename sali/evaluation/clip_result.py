"""The stored result of a scored clip: sums of fixed size."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from sali.metrics.clinical import ClipTally
from sali.metrics.counted_frame import FloatArray
from sali.run.io import atomic_write

COUNTS = ("frames", "missing", "full_masks", "polyp_frames", "low_frames")


@dataclass(frozen=True)
class PartScores:
    """Scores of the frames of a clip, or of its low-quality frames.

    Attributes:
        num_scored: Frames in the VPS scores.
        vector: Their mean score vector [1541]; meaningless without a frame.
        precision: Their mean precision [256] over the thresholds of Dice.
        tally: Sums of the clinical protocol over its frames; of none under VPS alone.
        metrics: Sum over frames, and number of frames that have the score, by frame metric.
    """

    num_scored: int
    vector: FloatArray
    precision: FloatArray
    tally: ClipTally
    metrics: dict[str, tuple[float, int]]

    def mean(self, name: str) -> float | None:
        """Return the mean of a frame metric over the frames that have it; None without one."""
        total, number = self.metrics[name]
        return total / number if number else None

    def pack(self) -> dict[str, Any]:
        """Return all as arrays by name, for a file."""
        return {
            "num_scored": self.num_scored,
            "vector": self.vector,
            "precision": self.precision,
            **{f"tally/{name}": value for name, value in vars(self.tally).items()},
            "metric_names": list(self.metrics),
            "metric_sums": np.asarray(list(self.metrics.values()), np.float64).reshape(-1, 2),
        }

    @classmethod
    def unpack(cls, stored: Mapping[str, Any]) -> "PartScores":
        """Inverse of `pack`."""
        tally = {
            one.name: stored[f"tally/{one.name}"].tolist()
            for one in fields(ClipTally)
            if one.name != "counts"
        }
        sums = zip(stored["metric_names"].tolist(), stored["metric_sums"].tolist(), strict=True)
        return cls(
            int(stored["num_scored"]),
            stored["vector"],
            stored["precision"],
            ClipTally(**tally, counts=stored["tally/counts"]),
            {name: (total, int(number)) for name, (total, number) in sums},
        )


@dataclass(frozen=True)
class ClipResult:
    """Scores of one clip by one method; its size does not depend on the number of frames.

    Attributes:
        subset: Subset that the clip is scored in.
        name: Name of the clip.
        counts: By the names of `COUNTS`: frames; frames without a map; masks that fill the image;
            frames with a polyp; frames in low-quality runs. Frames that no score needs are only
            in the first.
        whole: Scores of all frames.
        low: Scores of the frames in low-quality runs.
    """

    subset: str
    name: str
    counts: dict[str, int]
    whole: PartScores
    low: PartScores

    def save(self, path: Path, key: str) -> None:
        """Write the result in one go; `key` says what it was computed from."""
        content = BytesIO()
        arrays: dict[str, Any] = {
            "key": key,
            "counts": [self.counts[name] for name in COUNTS],
        }
        for part, scores in (("whole", self.whole), ("low", self.low)):
            arrays |= {f"{part}/{name}": values for name, values in scores.pack().items()}
        np.savez(content, **arrays)
        with atomic_write(path) as partial:
            partial.write_bytes(content.getvalue())

    @classmethod
    def load(cls, path: Path, subset: str, name: str) -> "ClipResult":
        """Inverse of `save`."""
        with np.load(path) as stored:
            counts = dict(zip(COUNTS, stored["counts"].tolist(), strict=True))
            parts: dict[str, dict[str, Any]] = {"whole": {}, "low": {}}
            for key in (key for key in stored.files if "/" in key):
                part, _, content = key.partition("/")
                parts[part][content] = stored[key]
        whole, low = (PartScores.unpack(parts[part]) for part in ("whole", "low"))
        return cls(subset, name, counts, whole, low)


def stored_key(path: Path) -> str | None:
    """Return what a stored result was computed from; None if there is none."""
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return str(stored["key"])
