"""The clinical protocol as a torchmetrics class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from sali.metrics.clinical import (
    TALLY_SIZE,
    ClinicalRules,
    ClipTally,
    ClipTracker,
    FrameOutcome,
)
from sali.metrics.clinical_summary import summarise
from sali.metrics.vps_metric import as_array, check_clip_index


class ClinicalMetric(Metric):
    """Figures of the clinical protocol, per clip and for the subset.

    The state is one row of sums per clip, whatever the number of frames. Runs, delays and
    stability need the frames of a clip in order and in one process: finish a clip before the
    next, and shard whole clips. Feed all frames, the first and the last included.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    tallies: Tensor

    def __init__(
        self, clip_names: Sequence[str], rules: ClinicalRules | None = None, **kwargs: Any
    ) -> None:
        """Creates the metric for one subset.

        Args:
            clip_names: names of the subset's clips; `update` refers to them by position.
            rules: threshold, frame rate and the rest; default rules if None.
            kwargs: passed on to `torchmetrics.Metric`.
        """
        super().__init__(**kwargs)
        self.clip_names = tuple(clip_names)
        self.rules = rules or ClinicalRules()
        self.outcome: FrameOutcome | None = None
        """Of the frame that was added last."""
        self._clip_index: int | None = None
        self._tracker = ClipTracker(self.rules)
        self.add_state(
            "tallies",
            torch.zeros(len(self.clip_names), TALLY_SIZE, dtype=torch.float64),
            dist_reduce_fx="sum",
        )

    def update(
        self,
        prediction: Tensor | NDArray[np.uint8],
        mask: Tensor | NDArray[np.bool_ | np.uint8],
        clip_index: int,
    ) -> None:
        """Adds the next frame of a clip.

        Args:
            prediction: probability x 255, uint8 [H, W].
            mask: ground truth, bool [H, W], or uint8 [H, W] in which more than 128 is foreground.
            clip_index: position of the frame's clip in `clip_names`.

        Raises:
            ValueError: if an array or the index is not as stated, or the clip was left before.
        """
        check_clip_index(clip_index, self.clip_names)
        if clip_index != self._clip_index:
            if self.tallies[clip_index].any():
                raise ValueError(
                    f"clip_index: got {clip_index} again after other clips, wanted the frames "
                    "of a clip in one go; do not shuffle frames, and shard whole clips"
                )
            self._clip_index = clip_index
            self._tracker = ClipTracker(self.rules)
        self.outcome = self._tracker.step(as_array(prediction), as_array(mask))
        vector = self._tracker.tally.vector()
        self.tallies[clip_index] = torch.from_numpy(vector).to(self.tallies.device)

    def compute(self) -> dict[str, Any]:
        """Returns `{"subset": {name: value}, "clips": {clip: {name: value}}}`.

        Clips without a frame are left out. None stands for a figure of which there is no case.
        """
        found = {
            name: ClipTally.from_vector(vector)
            for name, vector in zip(self.clip_names, as_array(self.tallies), strict=True)
            if vector.any()
        }
        return {
            "subset": summarise(list(found.values()), self.rules),
            "clips": {name: summarise([tally], self.rules) for name, tally in found.items()},
        }

    def reset(self) -> None:
        """Forgets all frames."""
        super().reset()
        self._clip_index = None

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Adds a frame like `update`; a frame has no figures of its own to return."""
        self.update(*args, **kwargs)
