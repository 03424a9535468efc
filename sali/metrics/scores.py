"""What every score means, which direction is better, and how its values are written.

Whatever shows scores looks them up here by name; names may have `_at_` and a number at their end,
which the entry writes as `_at_*`. A score from another package brings its entry along, see
`sali.metrics.frame_metric`, and metrics.json keeps it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["higher", "lower", "neither"]
NONE = "-"
"""Text of a score of which there is no case, say a rate of polyp-free frames without any."""


@dataclass(frozen=True)
class ScoreInfo:
    """One score, for those who show it.

    Attributes:
        direction: Which values are better; "neither" for properties of the data.
        format: Format specification of a value, say ".4f", ".1%" or ".0f".
        meaning: One phrase for readers.
    """

    direction: Direction = "neither"
    format: str = ".4f"
    meaning: str = ""

    def text(self, value: float | None) -> str:
        """Return a value as it is shown; `NONE` for None."""
        return NONE if value is None else format(value, self.format)

    def best(self, values: Iterable[float | None]) -> float | None:
        """Return the best value; None with fewer than two, or where neither is better."""
        there = [value for value in values if value is not None]
        if len(there) < 2 or self.direction == "neither":
            return None
        return max(there) if self.direction == "higher" else min(there)


def _curve(what: str, low: str = "its mean curve") -> dict[str, ScoreInfo]:
    return {
        "mean": ScoreInfo("higher", meaning=f"{what}: mean of {low} over 256 thresholds"),
        "max": ScoreInfo("higher", meaning=f"{what}: highest value of {low}"),
        "adaptive": ScoreInfo("higher", meaning=f"{what} at twice the mean of each map"),
    }


_CURVES = {
    "e": _curve("E-measure"),
    "f": _curve("F-measure, beta squared 0.3"),
    "sensitivity": _curve("Sensitivity of pixels"),
    "specificity": _curve("Specificity of pixels"),
    "dice": _curve("Dice of stretched maps"),
    "iou": _curve("IoU of stretched maps"),
}

_FRAMES = "mean over all frames, 1 where neither map nor mask has a pixel"
SCORES: dict[str, ScoreInfo] = {
    "s_measure": ScoreInfo("higher", meaning="Structure measure"),
    "weighted_f": ScoreInfo("higher", meaning="Weighted F-measure"),
    "mae": ScoreInfo("lower", meaning="Mean absolute error of the map"),
    **{f"{name}_{how}": info for name, own in _CURVES.items() for how, info in own.items()},
    "dice_at_*": ScoreInfo("higher", meaning="Dice of raw probabilities at a fixed threshold"),
    "iou_at_*": ScoreInfo("higher", meaning="IoU of raw probabilities at a fixed threshold"),
    "frame_sensitivity": ScoreInfo("higher", meaning="Share of polyp frames that are detected"),
    "frame_specificity": ScoreInfo("higher", meaning="Share of polyp-free frames without alarm"),
    "pixel_specificity_polyp_free": ScoreInfo(
        "higher", meaning="Share of unmarked pixels of polyp-free frames"
    ),
    "false_positive_frames_per_minute": ScoreInfo("lower", meaning="In polyp-free video"),
    "false_alarms": ScoreInfo("lower", ".0f", "Runs of consecutive false-positive frames"),
    "false_alarms_per_minute": ScoreInfo("lower", meaning="In polyp-free video"),
    "false_alarm_seconds_mean": ScoreInfo("lower", meaning="Mean length of a false alarm"),
    "false_alarm_seconds_max": ScoreInfo("lower", meaning="Length of the longest false alarm"),
    "polyps": ScoreInfo("neither", ".0f", "Clips with a polyp"),
    "polyps_detected": ScoreInfo("higher", ".0f", "Clips whose polyp is detected in some frame"),
    "polyp_sensitivity": ScoreInfo("higher", meaning="Share of polyps that are detected"),
    "first_detection_seconds_mean": ScoreInfo(
        "lower", meaning="Mean time from a polyp's first frame to its first detection"
    ),
    "first_detection_seconds_median": ScoreInfo(
        "lower", meaning="Median time from a polyp's first frame to its first detection"
    ),
    "polyp_returns": ScoreInfo("neither", ".0f", "Polyps that come back within their clip"),
    "polyp_returns_found": ScoreInfo("higher", ".0f", "Those detected before they leave again"),
    "return_delay_frames_mean": ScoreInfo(
        "lower", ".1f", "Mean frames from a polyp's return to its detection"
    ),
    "return_delay_seconds_mean": ScoreInfo(
        "lower", meaning="Mean time from a polyp's return to its detection"
    ),
    "frame_sensitivity_at_*": ScoreInfo(
        "higher", meaning="Share of polyp frames detected where this share of others has an alarm"
    ),
    "overlap_sensitivity_at_*": ScoreInfo(
        "higher", meaning="The same of polyp frames in which some of the polyp is marked"
    ),
    "stability": ScoreInfo("higher", meaning="Overlap of the masks of consecutive frames"),
    "stability_of_truth": ScoreInfo(meaning="The same of the ground truth"),
    "ece": ScoreInfo("lower", meaning="Expected calibration error of pixel probabilities"),
    "brier": ScoreInfo("lower", meaning="Brier score of pixel probabilities"),
    "frame_dice_at_*": ScoreInfo("higher", meaning=f"Dice at a fixed threshold: {_FRAMES}"),
    "frame_iou_at_*": ScoreInfo("higher", meaning=f"IoU at a fixed threshold: {_FRAMES}"),
    "frame_mae": ScoreInfo("lower", meaning="Error of raw probabilities: mean over all frames"),
}


def score_info(name: str, more: Mapping[str, Mapping[str, Any]] | None = None) -> ScoreInfo:
    """Return what is known of a score.

    Args:
        name: Name of the score.
        more: Content of "scores" in a metrics.json: entries of packages that need not be
            installed where the file is read.

    Returns:
        Its entry; one without a direction, with four decimals, for an unknown name.
    """
    if _key(name) in SCORES:
        return SCORES[_key(name)]
    return ScoreInfo(**more[name]) if more and name in more else ScoreInfo()


def is_built_in(name: str) -> bool:
    """Return whether a score is one of `sali` itself, not of another package."""
    return _key(name) in SCORES


def _key(name: str) -> str:
    """Return the name of the entry of a score."""
    stem, at, _ = name.rpartition("_at_")
    return name if name in SCORES or not at else f"{stem}_at_*"
