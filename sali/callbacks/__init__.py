"""What happens beside a training and its test: records, pictures, dashboards."""

from sali.callbacks.artifacts import LogArtifacts
from sali.callbacks.clip_video import ClipVideo
from sali.callbacks.gradient_norm import GradientNorm
from sali.callbacks.maps import SaveMaps
from sali.callbacks.memory import MemoryStatistics
from sali.callbacks.overlays import SaveOverlays
from sali.callbacks.progress import TrainingProgress
from sali.callbacks.report_frames import ReportFrames
from sali.callbacks.speed import TrainingSpeed
from sali.callbacks.tables import ResultTables
from sali.callbacks.worst_frames import WorstFrames
from sali.run.preemption import PreemptedError, Preemption

__all__ = [
    "ClipVideo",
    "GradientNorm",
    "LogArtifacts",
    "MemoryStatistics",
    "PreemptedError",
    "Preemption",
    "ReportFrames",
    "ResultTables",
    "SaveMaps",
    "SaveOverlays",
    "TrainingProgress",
    "TrainingSpeed",
    "WorstFrames",
]
