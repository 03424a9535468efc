"""Alignment, fusion and memory bank against the released code's numbers."""

import numpy as np
import pytest
import torch

from benchmarks.golden import fill_part, replay_bank
from sali.models.sali.alignment import ShortTermAlignment
from sali.models.sali.bank import MemoryBank
from sali.models.sali.fusion import Fusion
from sali.ops import KERNELS


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_alignment(golden_modules, kernel):
    align = fill_part(ShortTermAlignment(32, 8, kernel), "pcd_align.", "short_term.")
    pyramids = [
        [torch.from_numpy(golden_modules[f"align_{what}_{i}"]) for i in range(3)]
        for what in ("neighbour", "reference")
    ]
    with torch.no_grad():
        aligned = align(*pyramids)
    for i, level in enumerate(aligned):
        np.testing.assert_allclose(level, golden_modules[f"align_out_{i}"], atol=1e-4)


def test_fusion(golden_modules):
    fusion = fill_part(Fusion(32, residual=False), "nlnet.", "fusion.")
    a, b = ([torch.from_numpy(golden_modules[f"fuse_{w}_{i}"]) for i in range(3)] for w in "ab")
    with torch.no_grad():
        fused = fusion(a, b, current=a)
    for i, level in enumerate(fused):
        np.testing.assert_allclose(level, golden_modules[f"fuse_out_{i}"], atol=1e-4)


@pytest.mark.parametrize("cap", [4, 35])
def test_memory_bank_with_released_eviction(golden_modules, cap):
    golden = {
        k.removeprefix(f"cap{cap}_"): v
        for k, v in golden_modules.items()
        if k.startswith(f"cap{cap}_")
    }
    bank = MemoryBank(cap, int(golden["every"]), "released")
    for t, (read, sizes) in enumerate(replay_bank(golden, bank)):
        np.testing.assert_allclose(read, golden["readout"][t], atol=1e-4, err_msg=f"frame {t}")
        assert sizes == golden["sizes"][t].tolist(), f"frame {t}"
    assert t + 1 == len(golden["keys"])
    usage = torch.cat([level.usage for level in bank.levels])
    life = torch.cat([level.life for level in bank.levels])
    np.testing.assert_allclose(usage, golden["final_usage"], atol=1e-4)
    np.testing.assert_allclose(life, golden["final_life"], atol=1e-4)
