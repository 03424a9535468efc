"""Work on clips, spread over processes, with a progress bar."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

from sali.errors import UserError
from sali.run.progress import progress_bar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Processes that each take whole clips; without a pool this one does."""

    pool: Executor | None

    def run(
        self,
        function: Callable[..., Result],
        tasks: Sequence[tuple[Any, ...]],
        num_frames: Sequence[int],
        label: str,
    ) -> list[Result]:
        """Return the results of a function in the order of its tasks, one tuple of arguments each.

        Processes import the function, so it is at the top level of a module. The tasks of most
        frames start first, so that no process works alone on one at the end.

        Raises:
            UserError: Whatever a task raises, or a process that was killed.
        """
        results: dict[int, Result] = {}
        order = sorted(range(len(tasks)), key=lambda index: -num_frames[index])
        with progress_bar("frames") as progress:
            bar = progress.add_task(label, total=sum(num_frames))
            try:
                if self.pool is None:
                    done = ((index, function(*tasks[index])) for index in range(len(tasks)))
                else:
                    futures = {self.pool.submit(function, *tasks[i]): i for i in order}
                    done = ((futures[one], one.result()) for one in as_completed(futures))
                for index, result in done:
                    results[index] = result
                    progress.advance(bar, num_frames[index])
            except BrokenProcessPool as error:
                raise UserError(
                    "a worker process was killed, most likely for lack of memory; clips that were "
                    "finished are kept: give the same command with a smaller num_workers"
                ) from error
        return [results[index] for index in range(len(tasks))]


@contextmanager
def workers(number: int | None, num_tasks: int) -> Iterator[Workers]:
    """Start processes for clips and end them.

    There are as many as tasks at most; without a number, one per core that is free to use.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # fewer than there are in a container
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    number = min(number or cores, num_tasks)
    if number <= 1:
        import cv2

        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield Workers(None)
        finally:
            cv2.setNumThreads(threads)
        return
    # Spawned, not forked: the caller may have threads. Every process keeps to one core.
    with ProcessPoolExecutor(number, get_context("spawn"), initializer=_start_worker) as pool:
        try:
            yield Workers(pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)
    # An interrupt goes to all processes of a terminal; the first one ends the others cleanly.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
