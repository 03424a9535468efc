"""Run-length masks and boxes against COCO's published rules."""

import numpy as np
import pytest

from sali.prediction.writers.tables import box_of, encode_rle


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        # Worked out by hand: runs go down the columns and begin with background.
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 1], [1, 1]], [1, 3]),
        ([[1, 0], [0, 0]], [0, 1, 3]),
        ([[0, 0, 1], [0, 1, 0]], [3, 2, 1]),
    ],
)
def test_rle(rows, counts):
    mask = np.array(rows, bool)
    assert encode_rle(mask) == {"size": list(mask.shape), "counts": counts}


def test_box():
    mask = np.zeros((5, 7), bool)
    assert box_of(mask) is None
    mask[1, 2] = mask[3, 5] = True
    assert box_of(mask) == (2, 1, 4, 3)
