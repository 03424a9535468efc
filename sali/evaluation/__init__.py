"""Scoring maps on disk: which maps belong to which masks, the scores, and the tables.

`evaluate` does it all, without Hydra:

    from sali.evaluation import Settings, evaluate
    evaluate(Path("SUN-SEG"), Path("maps"), Path("results"), Settings(protocol="both"))
"""

from sali.evaluation.run import evaluate, evaluate_clips
from sali.evaluation.settings import Bootstrap, Settings

__all__ = ["Bootstrap", "Settings", "evaluate", "evaluate_clips"]
