"""Run-length masks against COCO's published rules."""

import numpy as np
import pytest

from sali.prediction.writers.tables import encode_rle


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
