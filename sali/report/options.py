"""What a page may hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sali.errors import ConfigError
from sali.report.film import FilmRules
from sali.report.film_choice import ClipChoice


@dataclass(frozen=True)
class ReportOptions:
    """Choices of a page; configs/report/default.yaml holds them and says more.

    Attributes:
        enabled: whether runs write one.
        clips: which are shown in pictures.
        film: how much of such a clip is kept.
        max_megabytes: of all pictures and outlines together, 1e6 bytes.
        bad_dice: frames below it are bad.
        min_run: shortest run of bad frames that is shaded, frames.
        max_points: of a training curve.
    """

    enabled: bool
    clips: ClipChoice
    film: FilmRules
    max_megabytes: float
    bad_dice: float
    min_run: int
    max_points: int

    def __post_init__(self) -> None:
        """Raises ValueError for numbers out of range."""
        wanted = {
            "max_megabytes": (self.max_megabytes >= 0, "at least 0"),
            "bad_dice": (0 <= self.bad_dice <= 1, "0 to 1"),
            "min_run": (self.min_run >= 1, "at least 1"),
            "max_points": (self.max_points >= 2, "at least 2"),
        }
        for name, (is_fit, text) in wanted.items():
            if not is_fit:
                raise ValueError(f"{name}: got {getattr(self, name)}, wanted {text}")

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> "ReportOptions":
        """Of the plain values of the group `report`.

        Raises:
            ConfigError: a value that does not fit.
        """
        try:
            return cls(
                **{**node, "clips": ClipChoice(**node["clips"]), "film": FilmRules(**node["film"])}
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"report: {error}") from error
