"""The 17 scores against unrounded output of the VPS toolbox on a small SUN-SEG tree."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sali.data.listing import frame_key
from sali.metrics.vps import (
    METRIC_NAMES,
    frame_scores,
    match_size,
    reduce_subset,
    summary,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
TOOLBOX_NAMES = [
    "Smeasure",
    "wFmeasure",
    "MAE",
    "adpEm",
    "meanEm",
    "maxEm",
    "adpFm",
    "meanFm",
    "maxFm",
    "meanSen",
    "maxSen",
    "meanSpe",
    "maxSpe",
    "meanDice",
    "maxDice",
    "meanIoU",
    "maxIoU",
]
TOLERANCE = 1e-12


def clip_vector(case: str) -> np.ndarray:
    truth = GOLDEN / "SUN-SEG" / EXPECTED["split"] / "GT" / case
    maps = GOLDEN / "predictions" / EXPECTED["split"] / case
    names = sorted((path.name for path in truth.iterdir()), key=frame_key)[1:-1]
    assert names == EXPECTED["cases"][case]["frames"]
    frames = []
    for name in names:
        mask = cv2.imread(str(truth / name), cv2.IMREAD_GRAYSCALE)
        prediction = cv2.imread(str(maps / name), cv2.IMREAD_GRAYSCALE)
        frames.append(frame_scores(match_size(prediction, mask.shape), mask))
    return np.mean(frames, axis=0)


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    return {case: clip_vector(case) for case in EXPECTED["cases"]}


def check(found: dict[str, float], expected: dict[str, float]) -> None:
    assert tuple(found) == METRIC_NAMES
    for name, toolbox_name in zip(METRIC_NAMES, TOOLBOX_NAMES, strict=True):
        assert found[name] == pytest.approx(expected[toolbox_name], abs=TOLERANCE, rel=0), name


@pytest.mark.parametrize("case", EXPECTED["cases"])
def test_clip(vectors: dict[str, np.ndarray], case: str) -> None:
    check(summary(vectors[case]), EXPECTED["cases"][case])


def test_subset(vectors: dict[str, np.ndarray]) -> None:
    check(summary(reduce_subset(vectors.values())), EXPECTED["dataset"])
