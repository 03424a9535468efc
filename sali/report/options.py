"""What a page may hold; configs/report/default.yaml says what each value means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PAGE = "report.html"


@dataclass(frozen=True)
class ReportOptions:
    """Values of the group `report`."""

    enabled: bool
    figures: bool
    worst_frames: int
    clips: Mapping[str, int]
    film: Mapping[str, Any]
    max_megabytes: float
    bad_dice: float
    min_run: int
    max_points: int
