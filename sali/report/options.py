"""What a page may hold; configs/report/default.yaml says what each value means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sali.errors import ConfigError

PAGE = "report.html"


@dataclass(frozen=True)
class ClipChoice:
    """Number of clips of a subset that are shown in pictures."""

    worst: int
    median: int
    best: int

    def of(self, scores: Mapping[str, float]) -> list[str]:
        """Return the chosen names, the worst first, then the middle, then the best."""
        ranked = sorted(scores, key=lambda name: scores[name])
        start = max(0, (len(ranked) - self.median) // 2)
        middle = ranked[start : start + self.median]
        best = ranked[max(0, len(ranked) - self.best) :]
        return list(dict.fromkeys([*ranked[: self.worst], *middle, *best]))


@dataclass(frozen=True)
class FilmRules:
    """How much of a clip is kept: frames, and what each picture of them is like."""

    max_frames: int
    height: int
    quality: int
    tolerance: float


@dataclass(frozen=True)
class ReportOptions:
    """Choices of a report.

    Raises:
        ConfigError: A number out of range.
    """

    enabled: bool
    figures: bool
    worst_frames: int
    clips: ClipChoice
    film: FilmRules
    max_megabytes: float
    bad_dice: float
    min_run: int
    max_points: int

    def __post_init__(self) -> None:
        clips, film = self.clips, self.film
        for name, value, least, most in (
            ("worst_frames", self.worst_frames, 0, None),
            *((f"clips.{k}", v, 0, None) for k, v in vars(clips).items()),
            ("film.max_frames", film.max_frames, 1, None),
            ("film.height", film.height, 16, None),
            ("film.quality", film.quality, 1, 100),
            ("film.tolerance", film.tolerance, 0, None),
            ("max_megabytes", self.max_megabytes, 0, None),
            ("bad_dice", self.bad_dice, 0, 1),
            ("min_run", self.min_run, 1, None),
            ("max_points", self.max_points, 2, None),
        ):
            if value < least or (most is not None and value > most):
                wanted = f"at least {least}" if most is None else f"{least} to {most}"
                raise ConfigError(f"report.{name}: got {value}, wanted {wanted}")

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> "ReportOptions":
        """Return the options of the plain values of the group `report`."""
        try:
            parts = {"clips": ClipChoice(**node["clips"]), "film": FilmRules(**node["film"])}
            return cls(**{**node, **parts})
        except TypeError as error:
            raise ConfigError(f"report: {error}") from error
