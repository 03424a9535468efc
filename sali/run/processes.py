"""What the processes of one run agree on: the name of its folder, and values of all of them."""

import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any

STORE_KEY = "sali/started"


def is_first() -> bool:
    """Return whether this process is the one that writes; works before they are connected."""
    ranks = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((os.environ[name] for name in ranks if name in os.environ), "0") == "0"


def shard() -> tuple[int, int]:
    """Return the rank and the number of processes that torchrun started; else (0, 1)."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@cache
def started() -> str:
    """Return the name of a run's folder, the same in all processes that a launcher started.

    The date and time, `2025-01-31_13-05-59_123456`, to the microsecond, so that trainings that a
    script starts together have folders of their own. torchrun's processes take that of whichever
    asks first from the store that they share. Under `srun` with several tasks it is
    `job_<id>_<step>`, so that a job that is put back in the queue finds its folder again.
    """
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        from torch.distributed import TCPStore

        store = TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), is_master=False)
        return store.compare_set(STORE_KEY, "", now).decode()
    if "SLURM_JOB_ID" in env and int(env.get("SLURM_NTASKS", "1")) > 1:
        return f"job_{env['SLURM_JOB_ID']}_{env.get('SLURM_STEP_ID', '0')}"
    return now


def gathered(value: Any) -> list[Any]:
    """Return the value of every process in the order of ranks; all processes must call this."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def meeting_point() -> Callable[[], None]:
    """Return a function in which every process waits for all others, however long that takes.

    A collective of NCCL or gloo ends after minutes; here one process may work for hours while the
    others wait. They answer signals meanwhile, and stop if one of the processes dies. All processes
    must call this function, and what it returns equally often.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return lambda: None
    group = distributed.new_group(backend="gloo", timeout=timedelta(days=365))

    def meet() -> None:
        work = distributed.barrier(group, async_op=True)  # type: ignore[arg-type]
        assert work is not None  # this process is in the group
        while not work.is_completed():
            time.sleep(0.05)
        work.wait()

    return meet
