"""Which clips of a subset are worth their pictures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClipChoice:
    """How many clips of a subset are shown in pictures.

    Attributes:
        worst: those of the lowest score.
        median: those round the middle.
        best: those of the highest.
    """

    worst: int
    median: int
    best: int

    def __post_init__(self) -> None:
        """Raises ValueError for numbers below 0."""
        if min(self.worst, self.median, self.best) < 0:
            raise ValueError(f"got {self}; wanted no number below 0")

    def of(self, scores: Mapping[str, float]) -> list[str]:
        """The chosen names, the worst first, then the middle, then the best.

        Args:
            scores: by clip; of equal ones the first goes first.
        """
        ranked = sorted(scores, key=lambda name: scores[name])
        start = max(0, (len(ranked) - self.median) // 2)
        parts = (
            ranked[: self.worst],
            ranked[start : start + self.median],
            ranked[max(0, len(ranked) - self.best) :],
        )
        return list(dict.fromkeys(name for part in parts for name in part))


def clip_score(rows: Iterable[Mapping[str, Any]], metric: str) -> float:
    """What clips are ranked by: the mean of a column of frames.csv.

    Where no frame of the clip has that, as there is no polyp: the share of its frames without a
    false alarm; 1 if nobody looked.
    """
    rows = list(rows)
    values = [float(row[metric]) for row in rows if row.get(metric) not in (None, "")]
    if values:
        return sum(values) / len(values)
    alarms = [int(r["false_positive"]) for r in rows if r.get("false_positive") not in (None, "")]
    return 1 - sum(alarms) / len(alarms) if alarms else 1.0
