"""Work on clips, spread over processes, with a progress bar."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import cv2

from sali.errors import UserError
from sali.run.progress import progress_bar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers:
    """Processes that each take whole clips; a single one is this process itself."""

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self._pool = pool

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        num_frames: Sequence[int],
        label: str,
    ) -> list[Result]:
        """Applies a function to all tasks.

        Args:
            function: at the top level of a module, as processes import it by name.
            tasks: one per clip.
            num_frames: of each task; long ones start first, so that no process is left alone
                with one at the end.
            label: of the progress bar.

        Returns:
            Results in the order of the tasks, whichever finished first.

        Raises:
            UserError: what a task raises, or that a process was killed.
        """
        results: dict[int, Result] = {}
        with progress_bar("frames") as progress:
            bar = progress.add_task(label, total=sum(num_frames))
            for index, result in self._unordered(function, tasks, num_frames):
                results[index] = result
                progress.advance(bar, num_frames[index])
        return [results[index] for index in range(len(tasks))]

    def _unordered(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], num_frames: Sequence[int]
    ) -> Iterator[tuple[int, Result]]:
        if self._pool is None:
            for index, task in enumerate(tasks):
                yield index, function(task)
            return
        longest_first = sorted(range(len(tasks)), key=lambda index: -num_frames[index])
        futures = {self._pool.submit(function, tasks[index]): index for index in longest_first}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, most likely for lack of memory; clips that were "
                "finished are kept: give the same command with a smaller num_workers"
            ) from error


@contextmanager
def workers(number: int | None, num_tasks: int) -> Iterator[Workers]:
    """Starts processes for clips and ends them.

    Args:
        number: of processes; None for one per core.
        num_tasks: there are never more processes than this.
    """
    number = min(number or _num_cores(), num_tasks)
    if number <= 1:
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


def _num_cores() -> int:
    """Cores that this process may use, which in a container are fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_worker() -> None:
    cv2.setNumThreads(1)
    # An interrupt goes to all processes of a terminal; the first one ends the others in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
