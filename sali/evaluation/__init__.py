"""Scoring maps on disk: which maps belong to which masks, and the scores.

`evaluate` does it all, without Hydra; `sali.report.page.report_evaluation` shows what
`run_evaluation` returns:

    from sali.evaluation import Settings, evaluate
    evaluate(Path("SUN-SEG"), Path("maps"), Path("results"), Settings(protocol="both"))
"""

from sali.evaluation.run import Evaluation, evaluate, evaluate_clips, run_evaluation
from sali.evaluation.settings import Settings
from sali.metrics.bootstrap import Bootstrap

__all__ = ["Bootstrap", "Evaluation", "Settings", "evaluate", "evaluate_clips", "run_evaluation"]
