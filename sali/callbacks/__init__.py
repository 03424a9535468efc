"""What accompanies a training: progress, records, dashboards."""

from sali.callbacks.artifacts import LogArtifacts
from sali.callbacks.gradient_norm import GradientNorm
from sali.callbacks.memory import MemoryStatistics
from sali.callbacks.progress import TrainingProgress
from sali.callbacks.show_test import OnTested, ShowTest, log_scores
from sali.callbacks.speed import TrainingSpeed
from sali.run.preemption import PreemptedError, Preemption

__all__ = [
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
