"""Alignment, fusion and memory bank against the released code's numbers."""

import numpy as np
import pytest
import torch
from weights import value_for

from sali.models.sali.alignment import ShortTermAlignment
from sali.models.sali.bank import MemoryBank
from sali.models.sali.fusion import Fusion
from sali.models.sali.memory import KeyValue, weigh_values
from sali.models.sali.released import rename_released
from sali.ops import KERNELS, memory_read

SEED = 21
GRIDS = [(8, 8), (4, 4), (2, 2)]


def fill(module: torch.nn.Module, released_prefix: str, our_prefix: str) -> torch.nn.Module:
    """Golden weights: released names are hashed without their prefix."""
    import json

    from conftest import GOLDEN

    shapes = json.loads((GOLDEN / "released_checkpoint_keys.json").read_text())
    state = {}
    for name, shape in shapes.items():
        if name.startswith(released_prefix):
            value = value_for(name.removeprefix(released_prefix), tuple(shape), SEED)
            renamed = rename_released({name: torch.from_numpy(np.asarray(value)).reshape(shape)})
            ((ours, tensor),) = renamed.items()
            state[ours.removeprefix(our_prefix)] = tensor
    module.load_state_dict(state, strict=True)
    return module.eval()


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_alignment(golden_modules, kernel):
    align = fill(ShortTermAlignment(32, 8, kernel), "pcd_align.", "short_term.")
    pyramids = [
        [torch.from_numpy(golden_modules[f"align_{what}_{i}"]) for i in range(3)]
        for what in ("neighbour", "reference")
    ]
    with torch.no_grad():
        aligned = align(*pyramids)
    for i, level in enumerate(aligned):
        np.testing.assert_allclose(level, golden_modules[f"align_out_{i}"], atol=1e-4)


def test_fusion(golden_modules):
    fusion = fill(Fusion(32, residual=False), "nlnet.", "fusion.")
    a, b = ([torch.from_numpy(golden_modules[f"fuse_{w}_{i}"]) for i in range(3)] for w in "ab")
    with torch.no_grad():
        fused = fusion(a, b, current=a)
    for i, level in enumerate(fused):
        np.testing.assert_allclose(level, golden_modules[f"fuse_out_{i}"], atol=1e-4)


def split_levels(flat: np.ndarray, channels: int) -> list[torch.Tensor]:
    """Golden rows hold the levels one after another, channel-major."""
    sizes = [channels * h * w for h, w in GRIDS]
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [torch.from_numpy(p).view(1, channels, -1) for p in parts]


@pytest.mark.parametrize("cap", [4, 35])
def test_memory_bank_with_released_eviction(golden_modules, cap):
    golden = {
        k.removeprefix(f"cap{cap}_"): v
        for k, v in golden_modules.items()
        if k.startswith(f"cap{cap}_")
    }
    bank = MemoryBank(cap, int(golden["every"]), "released")
    for t in range(len(golden["keys"])):
        query = [
            KeyValue(k, v)
            for k, v in zip(
                split_levels(golden["keys"][t], 4),
                split_levels(golden["values"][t], 16),
                strict=True,
            )
        ]
        memory = bank.elements() or query
        reads = [memory_read(q.key, m.key, m.value, 20) for q, m in zip(query, memory, strict=True)]
        if bank.levels:
            bank.count_usage([usage for _, usage in reads])
        got = torch.cat(
            [torch.cat([r, q.value], 1).flatten() for (r, _), q in zip(reads, query, strict=True)]
        )
        np.testing.assert_allclose(got, golden["readout"][t], atol=1e-4, err_msg=f"frame {t}")
        if bank.wants(t):
            logits = [
                m.view(1, 1, h, w)
                for m, (h, w) in zip(split_levels(golden["mask_logits"][t], 1), GRIDS, strict=True)
            ]
            bank.add(weigh_values(query, logits), t)
        assert bank.sizes == golden["sizes"][t].tolist(), f"frame {t}"
    usage = torch.cat([level.usage for level in bank.levels])
    life = torch.cat([level.life for level in bank.levels])
    np.testing.assert_allclose(usage, golden["final_usage"], atol=1e-4)
    np.testing.assert_allclose(life, golden["final_life"], atol=1e-4)
