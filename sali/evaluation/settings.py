"""The settings of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from sali import __version__
from sali.data.clip_tables import Runs
from sali.errors import ConfigError
from sali.metrics.bootstrap import Bootstrap
from sali.metrics.clinical import ClinicalRules, ClipTally
from sali.metrics.clinical_summary import clinical_names
from sali.metrics.frame_metric import FRAME_METRICS, FrameMetric
from sali.metrics.frame_quality import QualityLimits
from sali.metrics.vps import METRIC_NAMES
from sali.ranges import check_ranges

_CHOICES = {
    "protocol": ("vps", "clinical", "both"),
    "missing": ("error", "zero", "skip"),
    "short_clips": ("error", "skip"),
    "polyp_free_clips": ("zero", "skip"),
}


@dataclass(frozen=True)
class Settings:
    """Choices of an evaluation.

    configs/evaluate.yaml says what each means and holds the same defaults; `metrics` are further
    scores by name, in addition to those of the protocols.
    """

    subsets: tuple[str, ...] | None = None
    protocol: str = "vps"
    threshold: str | float | None = "checkpoint"
    missing: str = "error"
    short_clips: str = "error"
    polyp_free_clips: str = "zero"
    name: str | None = None
    reference: str | None = None
    num_workers: int | None = None
    quality: bool = False
    min_run: int = 5
    runs: Runs | None = None
    sparse_masks: bool = False
    quality_limits: QualityLimits = field(default_factory=QualityLimits)
    clinical: ClinicalRules = field(default_factory=ClinicalRules)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    metrics: Mapping[str, FrameMetric] = field(default_factory=dict)
    frames: Path | None = None
    polyp_free: Path | None = None
    attributes: Path | None = None

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                raise ConfigError(
                    f"{key}: got {getattr(self, key)!r}, wanted {' or '.join(choices)}"
                )
        numbers = {name: getattr(self, name) for name in ("num_workers", "min_run", "threshold")}
        check_ranges(numbers, "evaluate")
        if self.sparse_masks and self.with_vps:
            raise ConfigError(
                f"sparse_masks=true with protocol={self.protocol}: VPS wants every mask; "
                "give protocol=clinical"
            )
        if self.quality and self.runs is not None:
            raise ConfigError("runs are named and quality=true would find others; give one")
        if isinstance(self.threshold, str) and self.threshold != "checkpoint":
            raise ConfigError(
                f"threshold: got {self.threshold!r}, wanted checkpoint, a probability between 0 "
                "and 1, or null"
            )
        if self.subsets is not None and not self.subsets:
            raise ConfigError("subsets: got an empty list, wanted names, or null for all there are")
        if self.polyp_free is not None and not self.with_clinical:
            raise ConfigError(
                "polyp_free is scored by the clinical protocol only; add protocol=both"
            )
        taken = {*METRIC_NAMES, *clinical_names(self.clinical), *FRAME_METRICS}
        for name in self.metrics:
            if name in taken:
                raise ConfigError(f"metrics.{name}: a score has this name already; use another")

    @property
    def with_vps(self) -> bool:
        """Whether the VPS scores are wanted."""
        return self.protocol != "clinical"

    @property
    def with_clinical(self) -> bool:
        """Whether the clinical scores are wanted."""
        return self.protocol != "vps"

    @property
    def with_low(self) -> bool:
        """Whether runs of low-quality frames are scored on their own."""
        return self.quality or self.runs is not None

    @property
    def frame_metrics(self) -> dict[str, FrameMetric]:
        """Scores of `metrics.json` under "frame_metrics"; ours are of the clinical protocol."""
        return {**(FRAME_METRICS if self.with_clinical else {}), **self.metrics}

    @property
    def clip_key(self) -> str:
        """All that the stored scores of one clip depend on besides its files."""
        return repr(
            (
                __version__,
                (METRIC_NAMES, [one.name for one in fields(ClipTally)]),
                {name: metric.identity for name, metric in self.frame_metrics.items()},
                self.protocol,
                self.missing,
                self.clinical,
                (self.min_run, self.quality_limits) if self.quality else self.runs,
            )
        )
