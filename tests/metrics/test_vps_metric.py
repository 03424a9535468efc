"""The torchmetrics class of the VPS protocol: same numbers as the functions."""

import numpy as np
import pytest
import torch
from torch import nn

from sali.metrics.vps import frame_scores, reduce_clip, reduce_subset, summary
from sali.metrics.vps_metric import VpsMetric

CLIP_LENGTHS = {"case1_1": 5, "case2_1": 1, "case2_2": 4}
CLIPS = tuple(CLIP_LENGTHS)


def frames(clip_index: int) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(clip_index)
    shapes = [(20 + clip_index, 30)] * CLIP_LENGTHS[CLIPS[clip_index]]
    return [
        (generator.integers(0, 256, shape, dtype=np.uint8), generator.random(shape) < 0.2)
        for shape in shapes
    ]


def fed_metric(frame_indices: dict[int, slice]) -> VpsMetric:
    metric = VpsMetric(CLIPS)
    for clip_index, kept in frame_indices.items():
        for prediction, mask in frames(clip_index)[kept]:
            metric.update(torch.from_numpy(prediction), torch.from_numpy(mask), clip_index)
    return metric


def all_frames() -> VpsMetric:
    return fed_metric({index: slice(None) for index in range(len(CLIPS))})


def test_equals_the_functions() -> None:
    vectors = [reduce_clip(frame_scores(*frame) for frame in frames(i)) for i in range(len(CLIPS))]
    result = all_frames().compute()
    assert result["subset"] == summary(reduce_subset(vectors))
    assert result["clips"] == {n: summary(v) for n, v in zip(CLIPS, vectors, strict=True)}


def test_resumes_from_saved_sums() -> None:
    half = fed_metric({0: slice(None), 1: slice(None)})
    half.persistent(True)
    resumed = VpsMetric(CLIPS)
    resumed.load_state_dict(half.state_dict())
    for prediction, mask in frames(2):
        resumed.update(torch.from_numpy(prediction), torch.from_numpy(mask), 2)
    assert resumed.compute() == all_frames().compute()


def test_state_does_not_grow_and_stays_float64() -> None:
    metric = VpsMetric(["a"])
    size = sum(state.numel() for state in metric.metric_state.values())
    for _ in range(3):
        metric.update(*frames(0)[0], clip_index=0)
    assert sum(state.numel() for state in metric.metric_state.values()) == size
    nn.ModuleList([metric]).half()
    assert metric.sums.dtype == torch.float64


def test_reset() -> None:
    metric = all_frames()
    metric.reset()
    assert metric.clip_vectors() == {}


def test_missing_clips() -> None:
    metric = fed_metric({0: slice(None)})
    with pytest.raises(ValueError, match="none of case2_1, case2_2"):
        metric.compute()
    metric = VpsMetric(CLIPS, missing="skip")
    metric.update(*frames(0)[0], clip_index=0)
    assert list(metric.compute()["clips"]) == ["case1_1"]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="got 3, wanted 0 to 2"):
        VpsMetric(CLIPS).update(*frames(0)[0], clip_index=3)
    with pytest.raises(ValueError, match="2 names, 1 of them"):
        VpsMetric(["a", "a"])
    with pytest.raises(ValueError, match="missing: got 'zero'"):
        VpsMetric(["a"], missing="zero")
