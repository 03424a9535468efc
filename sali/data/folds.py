"""Cross-validation by whole cases, for data without a published split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sali.data.datamodule import ClipData
from sali.data.index import index_present
from sali.data.split import HELD_OUT, TRAIN, deal_cases, hold_out_cases
from sali.errors import ConfigError

FOLD = "fold"
"""Name of the test subset."""


@dataclass(kw_only=True, eq=False, repr=False)
class FoldedClipData(ClipData):
    """`ClipData` that tests one part of the cases and trains on the others.

    All clips below the root are divided, of all subsets. Run every fold to have each
    case tested once.

    Attributes:
        fold: Number of the part that is tested, from 0.
        folds: Number of parts.
        fold_seed: Seed that deals the cases; not `seed`, so that repetitions test the same parts.

    Raises:
        ConfigError: No such fold, or options that only go with published subsets.
    """

    fold: int
    folds: int
    fold_seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fold < self.folds:
            raise ConfigError(f"data.fold is {self.fold}; wanted 0 to {self.folds - 1}")
        if list(self.test_subsets) != [FOLD]:
            raise ConfigError(
                f"data.test_subsets is {list(self.test_subsets)}; with folds it is [{FOLD}]: leave "
                "it, and use data=sun_seg for published subsets"
            )
        if self.split is not None:
            raise ConfigError(
                f"data.split is {self.split!r}, and folds divide the cases themselves; wanted "
                f"data=sun_seg data.root={self.root} with a split"
            )
        if self.selection != HELD_OUT:
            raise ConfigError(
                f"data.selection is {self.selection!r}; with folds it is {HELD_OUT!r}, as a test "
                "subset must not choose the checkpoint"
            )

    def index(self) -> None:
        """Deal the cases into parts."""
        dealt = deal_cases(index_present(Path(self.root)), self.folds, self.fold_seed)
        rest = [clip for i, part in enumerate(dealt) if i != self.fold for clip in part]
        self.train_clips, self.val_clips = hold_out_cases(
            rest, self.validation_fraction, self.split_seed
        )
        self.test_clips = {FOLD: dealt[self.fold]}
        self.parts = {TRAIN: self.train_clips, HELD_OUT: self.val_clips, **self.test_clips}

    def provenance(self) -> dict[str, Any]:
        """Return what a run's record says about its data."""
        tested = [clip.name for clip in self.test_clips[FOLD]]
        return {**super().provenance(), "fold": f"{self.fold} of {self.folds}", "tested": tested}
