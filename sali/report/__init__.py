"""One page per run, evaluation and sweep, made of what lies in its folder and nothing else."""

from sali.report.options import ReportOptions
from sali.report.writing import (
    report_clips,
    report_evaluation,
    reported,
    write_report,
    write_sweep_report,
)

__all__ = [
    "ReportOptions",
    "report_clips",
    "report_evaluation",
    "reported",
    "write_report",
    "write_sweep_report",
]
