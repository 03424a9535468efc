"""All scores of one subset at once, from maps as they come out of a stream."""

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sali.data.order import is_scored
from sali.metrics.clinical import ClinicalRules, ClipTally, FrameOutcome
from sali.metrics.clinical_metric import ClinicalMetric
from sali.metrics.fixed_threshold import FixedThresholdScores
from sali.metrics.histogram import FloatArray, IntArray
from sali.metrics.vps import CURVES, curve, reduce_subset
from sali.metrics.vps_metric import VpsMetric, as_array

log = logging.getLogger(__name__)


class SubsetScores:
    """VPS figures, clinical figures and plain frame means of the same maps.

    They are computed from the 8-bit maps that would be written to disk, so that scoring those later
    gives the same numbers.

    Args:
        clip_lengths: frames of every clip, by its name, in the order of their numbers.
        rules: of the clinical figures.
        device: of the sums.
    """

    def __init__(
        self, clip_lengths: dict[str, int], rules: ClinicalRules, device: torch.device
    ) -> None:
        names = list(clip_lengths)
        self._lengths = list(clip_lengths.values())
        self.vps = VpsMetric(names, missing="skip").to(device)
        self.clinical = ClinicalMetric(names, rules).to(device)
        self.frame_means = FixedThresholdScores(names).to(device)
        self._too_short = [name for name, length in clip_lengths.items() if length < 3]

    def update(self, shown: Tensor, mask: Tensor, clip: int, number: int) -> FrameOutcome:
        """Score the next frame of a clip; frames of a clip come in order.

        Args:
            shown: the 8-bit map [H, W].
            mask: 0/1 uint8 [H, W].
            clip: number of the clip.
            number: number of the frame in its clip; VPS leaves out the first and the last.

        Returns:
            What the clinical protocol makes of the frame.
        """
        truth = mask > 0
        self.frame_means.update(shown.float() / 255, truth, clip)
        self.clinical.update(shown, truth, clip)
        if is_scored(number, self._lengths[clip]):
            self.vps.update(shown, truth, clip)
        assert self.clinical.outcome is not None
        return self.clinical.outcome

    def curves(self) -> dict[str, FloatArray]:
        """Mean curves [256] of VPS, of all processes together; empty if no frame counts."""
        with self.vps.sync_context():
            vectors = self.vps.clip_vectors()
        if not vectors:
            return {}
        mean = reduce_subset(vectors.values())
        return {name: curve(mean, name) for name in CURVES}

    def pixels(self) -> IntArray:
        """Counts [2, 256], background and polyp pixels by grey level, of all processes together."""
        with self.clinical.sync_context():
            tallies = as_array(self.clinical.tallies)
        return np.sum([ClipTally.from_vector(row).counts for row in tallies], axis=0)

    def compute(self) -> dict[str, dict[str, Any]]:
        """{"vps" | "clinical" | "frame_means": {"subset": scores, "clips": {clip: scores}}}."""
        if self._too_short:
            log.warning(
                "%d clips have fewer than 3 frames and are not in the VPS figures: %s",
                len(self._too_short),
                ", ".join(self._too_short),
            )
        means = self.frame_means.compute()
        return {
            "vps": self.vps.compute(),
            "clinical": self.clinical.compute(),
            "frame_means": {"subset": means["mean"], "clips": means["clips"]},
        }
