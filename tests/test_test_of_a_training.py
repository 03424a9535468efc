"""What the test after a training needs: processes that wait for each other, signals, old names."""

import os
import signal
import socket
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from sali.run.processes import meeting_point


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def meets(rank: int, port: int, folder: Path, dies: bool) -> None:
    """Two processes meet; the second answers a signal meanwhile, or the first dies before."""
    torch.set_num_threads(1)
    store = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    meet = meeting_point()
    if rank == 0:
        wait_for(folder / "waits")
        if dies:
            os._exit(0)
        wait_for(folder / "answered")
        (folder / "done").touch()
        meet()
        return
    if not dies:
        signal.signal(signal.SIGALRM, lambda *_: (folder / "answered").touch())
        signal.setitimer(signal.ITIMER_REAL, 0.2)
    (folder / "waits").touch()
    try:
        meet()
    except RuntimeError:
        (folder / "failed").touch()
    else:
        assert (folder / "done").exists()


@pytest.mark.parametrize("dies", [False, True])
def test_processes_meet_answer_signals_and_notice_a_death(tmp_path, dies):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(meets, (port, tmp_path, dies), nprocs=2)
    assert (tmp_path / "failed").exists() == dies
    assert (tmp_path / "done").exists() != dies


def test_a_single_process_waits_for_nobody():
    meeting_point()()


def test_a_test_stops_at_once(tmp_path):
    from sali.run.preemption import PreemptedError, stopping_at_once

    def ask():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PreemptedError, match=str(tmp_path)), stopping_at_once(tmp_path):
        ask()
    assert signal.getsignal(signal.SIGTERM) == before


def test_checkpoints_know_callbacks_by_the_old_name_of_the_score():
    """A resumed training of an earlier version keeps its best score and its patience."""
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    from sali.task import MONITOR, OLD_MONITOR, SegmentationTask

    old = [ModelCheckpoint(monitor=OLD_MONITOR, mode="max"), EarlyStopping(OLD_MONITOR, mode="max")]
    new = [ModelCheckpoint(monitor=MONITOR, mode="max"), EarlyStopping(MONITOR, mode="max")]
    checkpoint = {"callbacks": {one.state_key: {"n": i} for i, one in enumerate(old)}}
    task = Mock(trainer=Mock(world_size=1, global_rank=0))
    loaded = {**checkpoint, "random_states": [{}]}
    SegmentationTask.on_load_checkpoint(task, loaded)
    assert loaded["callbacks"] == {one.state_key: {"n": i} for i, one in enumerate(new)}
