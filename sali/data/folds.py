"""Cross-validation by whole cases, for data without a published split."""

from typing import Any

from sali.data.clips import index_present
from sali.data.datamodule import HELD_OUT, ClipData
from sali.data.sampling import deal_cases, hold_out_cases
from sali.errors import ConfigError

FOLD = "fold"
"""Name of the test subset."""


class FoldedClipData(ClipData):
    """``ClipData`` that tests one part of the cases and trains on the others.

    All clips below the root are dealt, whatever subset they lie in. Run every fold to have each
    case tested once.

    Args:
        fold: the part that is tested, from 0.
        folds: number of parts.
        fold_seed: deals the cases; not ``seed``, so that repetitions test the same parts.
        kwargs: arguments of ``ClipData``.

    Raises:
        ConfigError: no such fold, or options that only go with published subsets.
    """

    def __init__(self, fold: int, folds: int, fold_seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= fold < folds:
            raise ConfigError(f"data.fold is {fold}; wanted 0 to {folds - 1}")
        if self.test_subsets != [FOLD]:
            raise ConfigError(
                f"data.test_subsets is {self.test_subsets}; with folds it is [{FOLD}]: leave it, "
                "and use data=sun_seg for published subsets"
            )
        if self.selection != HELD_OUT:
            raise ConfigError(
                f"data.selection is {self.selection!r}; with folds it is {HELD_OUT!r}, as a test "
                "subset must not choose the checkpoint"
            )
        self.fold = fold
        self.folds = folds
        self.fold_seed = fold_seed

    def index(self) -> None:
        parts = deal_cases(index_present(self.root), self.folds, self.fold_seed)
        rest = [clip for i, part in enumerate(parts) if i != self.fold for clip in part]
        self.train_clips, self.val_clips = hold_out_cases(rest, self.validation_fraction, self.seed)
        self.test_clips = {FOLD: parts[self.fold]}

    def provenance(self) -> dict[str, Any]:
        tested = [clip.name for clip in self.test_clips[FOLD]]
        return {**super().provenance(), "fold": f"{self.fold} of {self.folds}", "tested": tested}
