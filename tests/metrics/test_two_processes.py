"""Two processes (gloo) give the scores of one, on an uneven split."""

import json
import socket
from pathlib import Path

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from sali.metrics.fixed_threshold import FixedThresholdScores

CLIP_LENGTHS = {"case1_1": 5, "case2_1": 1, "case2_2": 4}
CLIPS = tuple(CLIP_LENGTHS)
WHOLE = slice(None)
Shard = dict[int, slice]


def scores_of(shard: Shard) -> dict[str, float]:
    """Return the scores of some frames of some clips; each clip is drawn from its own seed."""
    scores = FixedThresholdScores(len(CLIPS))
    for clip_index, kept in shard.items():
        generator = torch.Generator().manual_seed(clip_index)
        shape = CLIP_LENGTHS[CLIPS[clip_index]], 20 + clip_index, 30
        predictions = torch.rand(shape, generator=generator)
        masks = torch.rand(shape, generator=generator) < 0.2
        masks[::2] &= clip_index > 0
        for prediction, mask in zip(predictions[kept], masks[kept], strict=True):
            scores.update(prediction, mask, clip_index)
    return scores.compute()


def worker(rank: int, port: int, folder: str, shards: list[Shard]) -> None:
    torch.set_num_threads(1)
    store = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        found = scores_of(shards[rank])
    finally:
        torch.distributed.destroy_process_group()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))


def on_two_processes(folder: Path, shards: list[Shard]) -> list[dict]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(worker, (port, str(folder), shards), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_whole_clips_shared_out_unevenly(tmp_path: Path) -> None:
    """Whole clips on either process give the same bits."""
    expected = scores_of({0: WHOLE, 1: WHOLE, 2: WHOLE})
    assert on_two_processes(tmp_path, [{0: WHOLE}, {1: WHOLE, 2: WHOLE}]) == [expected] * 2


@pytest.mark.slow
def test_frames_of_a_clip_on_both(tmp_path: Path) -> None:
    """The scores are the same up to the order of a sum."""
    shards = [{0: slice(0, 3), 1: WHOLE}, {0: slice(3, None), 2: WHOLE}]
    first, second = on_two_processes(tmp_path, shards)
    expected = scores_of({0: WHOLE, 1: WHOLE, 2: WHOLE})
    assert first == second
    assert first == pytest.approx(expected, abs=1e-12)
