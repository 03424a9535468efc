"""The structure loss against its formula, pixel by pixel."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from sali.losses import StructureLoss, boundary_weight, structure_loss


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 1, 40, 56)).astype(np.float32)
    mask = np.zeros((3, 1, 40, 56), np.float32)
    mask[0, 0, 10:20, 20:40] = 1
    mask[1] = 1
    return logits, mask


def test_boundary_weight_is_the_mean_in_a_window(sample):
    _, mask = sample
    local = np.stack([uniform_filter(m[0].astype(float), 31, mode="constant") for m in mask])
    expected = 1 + 5 * np.abs(local[:, None] - mask)
    np.testing.assert_allclose(boundary_weight(torch.from_numpy(mask)), expected, atol=1e-5)


@pytest.mark.parametrize("bce", ["weighted", "released"])
def test_formula(sample, bce):
    logits, mask = sample
    weight = boundary_weight(torch.from_numpy(mask))
    w = weight.numpy().astype(float)
    p = 1 / (1 + np.exp(-logits.astype(float)))
    pixel = -(mask * np.log(p) + (1 - mask) * np.log(1 - p))
    axes = (2, 3)
    first = (w * pixel).sum(axes) / w.sum(axes) if bce == "weighted" else pixel.mean()
    overlap, total = (w * p * mask).sum(axes), (w * (p + mask)).sum(axes)
    expected = (first + 1 - (overlap + 1) / (total - overlap + 1)).mean()
    got = structure_loss(torch.from_numpy(logits), torch.from_numpy(mask), weight, bce)
    assert got.item() == pytest.approx(expected, abs=1e-5)
    heads = [torch.from_numpy(logits)] * 4
    assert StructureLoss(bce)(heads, torch.from_numpy(mask)).item() == pytest.approx(
        4 * expected, abs=1e-4
    )


def test_refusals(sample):
    logits, mask = (torch.from_numpy(a) for a in sample)
    with pytest.raises(ValueError, match="'sum' is not one of"):
        StructureLoss("sum")
    with pytest.raises(ValueError, match="differ|but the mask"):
        structure_loss(logits, mask[:, :, 1:], mask, "weighted")
