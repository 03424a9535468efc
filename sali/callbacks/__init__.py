"""What accompanies a training: progress, records, dashboards."""

from sali.callbacks.dashboards import LogArtifacts, OnTested, ShowTest, log_scores
from sali.callbacks.training import (
    Freeze,
    GradientNorm,
    MemoryStatistics,
    TrainingProgress,
    TrainingSpeed,
)
from sali.run.preemption import PreemptedError, Preemption

__all__ = [
    "Freeze",
    "GradientNorm",
    "LogArtifacts",
    "MemoryStatistics",
    "OnTested",
    "PreemptedError",
    "Preemption",
    "ShowTest",
    "TrainingProgress",
    "TrainingSpeed",
    "log_scores",
]
