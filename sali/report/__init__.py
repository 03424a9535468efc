"""The one place that shows: tables, figures and a page of a run, an evaluation or a sweep.

Everything is made of what lies in a folder; only pictures of frames need the frames as well. What
draws is imported where it is needed, so that importing this is quick.
"""

from sali.report.options import ReportOptions
from sali.report.page import report_evaluation, reported, write_report, write_sweep

__all__ = ["ReportOptions", "report_evaluation", "reported", "write_report", "write_sweep"]
