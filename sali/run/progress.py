"""Progress bars, and log lines above them, on the one console of this process."""

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # rich is imported when something is drawn
    from rich.console import Console
    from rich.progress import Progress

RATE_SECONDS = 3600  # rates are over the advances of the last hour: whole clips take minutes each


def console() -> "Console":
    """Return rich's console of this process, which Lightning's bars use too, on stderr."""
    import rich

    if not rich.get_console().stderr:
        rich.reconfigure(stderr=True)
    return rich.get_console()


def is_watched() -> bool:
    """Return whether stderr is a terminal; elsewhere no bar is drawn."""
    return sys.stderr.isatty()


class LogHandler(logging.StreamHandler):
    """Log lines on stdout; where that is a terminal, whole above a progress bar."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._process = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; through the console only where both streams are a person's terminal."""
        # A forked process may hold the console's lock for ever.
        if self.stream.isatty() and is_watched() and os.getpid() == self._process:
            line = self.format(record)
            console().print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            super().emit(record)


def progress_bar(unit: str, background: bool = True, quiet: bool = False) -> "Progress":
    """Return a bar with count, rate, time spent and time left; silent unless a person watches.

    Args:
        unit: Name of what is counted, in the plural.
        background: Whether a thread redraws the bar, which could disturb what is timed.
        quiet: Whether to draw nothing, even if a person watches.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """Items per second, or seconds per item; over the whole time once it is finished."""

        def render(self, task: Task) -> Text:
            mean = task.completed / task.elapsed if task.elapsed else None
            speed = mean if task.finished else task.speed or mean
            if not speed:
                return Text()
            return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(),
        auto_refresh=background,
        disable=quiet or not is_watched(),
        speed_estimate_period=RATE_SECONDS,
        redirect_stdout=False,
        redirect_stderr=False,
    )
