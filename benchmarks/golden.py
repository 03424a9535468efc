"""The released code's numbers in tests/golden, and our parts with the same weights."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sali.models.sali.bank import MemoryBank
from sali.models.sali.memory import KeyValue, weigh_values
from sali.models.sali.released import rename_released
from sali.ops import memory_read

GOLDEN = Path(__file__).resolve().parent.parent / "tests/golden"
PART_SEED = 21
NETWORK_SEED = 11
GRIDS = [(8, 8), (4, 4), (2, 2)]
"""(H, W) of the levels of the golden memory."""
TOP_K = 20


def _weights() -> Any:
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def released_state() -> dict[str, Tensor]:
    """Return the state dict of the golden network, under the released names."""
    return _weights().released_state_dict(seed=NETWORK_SEED)


def fill_part(part: nn.Module, released_prefix: str, our_prefix: str) -> nn.Module:
    """Give a part its golden weights, which hang on the released names without their prefix."""
    value_for = _weights().value_for
    state = {}
    for name, shape in json.loads((GOLDEN / "released_checkpoint_keys.json").read_text()).items():
        if name.startswith(released_prefix):
            value = value_for(name.removeprefix(released_prefix), tuple(shape), PART_SEED)
            renamed = rename_released({name: torch.from_numpy(np.asarray(value)).reshape(shape)})
            ((ours, tensor),) = renamed.items()
            state[ours.removeprefix(our_prefix)] = tensor
    part.load_state_dict(state, strict=True)
    return part.eval()


def replay_bank(
    golden: dict[str, np.ndarray], bank: MemoryBank, device: str = "cpu"
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Read and store the golden elements frame by frame.

    Yields:
        Readout and the frame's own values, all levels in one row, and the number of elements per
        level after the frame was stored.
    """

    def levels(flat: np.ndarray, channels: int) -> list[Tensor]:
        """Rows hold the levels one after another, channel-major."""
        parts = np.split(flat, np.cumsum([channels * h * w for h, w in GRIDS])[:-1])
        return [torch.from_numpy(part).view(1, channels, -1).to(device) for part in parts]

    frames = zip(golden["keys"], golden["values"], golden["mask_logits"], strict=True)
    for t, (keys, values, masks) in enumerate(frames):
        query = [KeyValue(*pair) for pair in zip(levels(keys, 4), levels(values, 16), strict=True)]
        memory = bank.elements() or query
        reads = [
            memory_read(q.key, m.key, m.value, TOP_K) for q, m in zip(query, memory, strict=True)
        ]
        if bank.levels:
            bank.count_usage([usage for _, usage in reads])
        rows = [
            torch.cat([r, q.value], 1).flatten() for (r, _), q in zip(reads, query, strict=True)
        ]
        if bank.wants(t):
            maps = zip(levels(masks, 1), GRIDS, strict=True)
            logits = [mask.view(1, 1, *grid) for mask, grid in maps]
            bank.add(weigh_values(query, logits), t)
        yield torch.cat(rows).cpu().numpy(), bank.sizes
