"""What a page may hold; configs/report/default.yaml says what each value means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sali.errors import ConfigError

PAGE = "report.html"


_RANGES: dict[str, tuple[float, float | None]] = {
    **{"worst_frames": (0, None), "max_megabytes": (0, None), "bad_dice": (0, 1)},
    **{"min_run": (1, None), "max_points": (2, None)},
    **{"clips.worst": (0, None), "clips.median": (0, None), "clips.best": (0, None)},
    **{"film.max_frames": (1, None), "film.height": (16, None)},
    **{"film.quality": (1, 100), "film.tolerance": (0, None)},
}


@dataclass(frozen=True)
class ReportOptions:
    """Choices of a report.

    Raises:
        ConfigError: A number out of range.
    """

    enabled: bool
    figures: bool
    worst_frames: int
    clips: Mapping[str, int]
    film: Mapping[str, Any]
    max_megabytes: float
    bad_dice: float
    min_run: int
    max_points: int

    def __post_init__(self) -> None:
        values = dict(vars(self))
        for part in ("clips", "film"):
            values |= {f"{part}.{name}": value for name, value in values[part].items()}
        for name, (least, most) in _RANGES.items():
            if values[name] < least or (most is not None and values[name] > most):
                wanted = f"at least {least}" if most is None else f"{least} to {most}"
                raise ConfigError(f"report.{name}: got {values[name]}, wanted {wanted}")

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> "ReportOptions":
        """Return the options of the plain values of the group `report`."""
        try:
            return cls(**node)
        except (TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"report: {error}") from error
