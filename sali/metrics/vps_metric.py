"""The VPS protocol as a torchmetrics class."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from sali.metrics.vps import NUM_VALUES, frame_scores, reduce_subset, summary


class VpsMetric(Metric):
    """The 17 figures of the VPS protocol, per clip and for the subset.

    The state is one row of sums and one count per clip, whatever the number of frames, and
    reduces over processes by addition: frames may be spread over processes in any way. With
    whole clips per process the result equals that of one process bit by bit.

    Feed the frames that count only (`clip_order.is_scored`): a metric cannot know which frame
    is the last one. The figures are not averages of batches; call `update`, then `compute`.

    Example:
        >>> metric = VpsMetric(["case1_1"])
        >>> mask = torch.zeros(8, 8, dtype=torch.bool)
        >>> mask[2:6, 2:6] = True
        >>> metric.update(mask.to(torch.uint8) * 255, mask, clip_index=0)
        >>> metric.compute()["subset"]["dice_max"]
        1.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    sums: Tensor
    counts: Tensor

    def __init__(
        self,
        clip_names: Sequence[str],
        missing: Literal["error", "skip"] = "error",
        **kwargs: Any,
    ) -> None:
        """Creates the metric for one subset.

        Args:
            clip_names: names of the subset's clips; `update` refers to them by position.
            missing: what `compute` does about clips without a frame: stop, or leave them out.
            kwargs: passed on to `torchmetrics.Metric`.

        Raises:
            ValueError: for an unknown `missing` or repeated names.
        """
        super().__init__(**kwargs)
        if missing not in ("error", "skip"):
            raise ValueError(f"missing: got {missing!r}, wanted 'error' or 'skip'")
        if len(set(clip_names)) != len(clip_names):
            raise ValueError(
                f"clip_names: got {len(clip_names)} names, {len(set(clip_names))} of them "
                "different; give each clip its own name"
            )
        self.clip_names = tuple(clip_names)
        self.missing = missing
        num_clips = len(self.clip_names)
        self.add_state(
            "sums", torch.zeros(num_clips, NUM_VALUES, dtype=torch.float64), dist_reduce_fx="sum"
        )
        self.add_state("counts", torch.zeros(num_clips, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        prediction: Tensor | NDArray[np.uint8],
        mask: Tensor | NDArray[np.bool_ | np.uint8],
        clip_index: int,
    ) -> None:
        """Adds one frame.

        Args:
            prediction: map, uint8 [H, W].
            mask: ground truth, bool [H, W], or uint8 [H, W] in which more than 128 is foreground.
            clip_index: position of the frame's clip in `clip_names`.

        Raises:
            ValueError: if an array or the index is not as stated.
        """
        check_clip_index(clip_index, self.clip_names)
        vector = frame_scores(as_array(prediction), as_array(mask)).vector()
        self.sums[clip_index] += torch.from_numpy(vector).to(self.sums.device)
        self.counts[clip_index] += 1

    def clip_vectors(self) -> dict[str, NDArray[np.float64]]:
        """Returns the mean vector [1541] of each clip that has frames, for curves and bootstraps.

        Inside a distributed run, call it within `sync_context()`.
        """
        sums, counts = as_array(self.sums), as_array(self.counts)
        return {
            name: sums[index] / counts[index]
            for index, name in enumerate(self.clip_names)
            if counts[index]
        }

    def compute(self) -> dict[str, Any]:
        """Returns `{"subset": {name: value}, "clips": {clip: {name: value}}}`.

        Raises:
            ValueError: if a clip, or with `missing="skip"` every clip, has no frame.
        """
        vectors = self.clip_vectors()
        absent = [name for name in self.clip_names if name not in vectors]
        if absent and self.missing == "error":
            raise ValueError(
                f"clips: got frames of {len(vectors)} of {len(self.clip_names)} clips, none of "
                f"{', '.join(absent)}; feed them, or pass missing='skip' to leave them out"
            )
        return {
            "subset": summary(reduce_subset(vectors.values())),
            "clips": {name: summary(vector) for name, vector in vectors.items()},
        }


def as_array(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    """Returns a tensor of any device, or an array, as an array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def check_clip_index(clip_index: int, clip_names: Sequence[str]) -> None:
    """Raises ValueError unless the index is a position in `clip_names`."""
    if not 0 <= clip_index < len(clip_names):
        raise ValueError(
            f"clip_index: got {clip_index}, wanted 0 to {len(clip_names) - 1}; "
            "it is the position of the clip in clip_names"
        )
