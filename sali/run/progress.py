"""The one progress bar, wherever a person waits."""

import io
import logging
import os
import sys
from typing import TextIO

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

REMEMBERED_SECONDS = 3600
"""Rates are of the last thousand advances, no older than this: whole clips take minutes each."""


class _CountColumn(ProgressColumn):
    """``12/100 frames``, or ``12 frames`` where nobody knows how many there will be."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        of = "" if task.total is None else f"/{int(task.total)}"
        unit = task.fields.get("unit", self._unit)
        return Text(f"{int(task.completed)}{of} {unit}", style="progress.download")


class _RateColumn(ProgressColumn):
    """How many a second, or how long each takes; of all of them in the end."""

    def render(self, task: Task) -> Text:
        mean = task.completed / task.elapsed if task.elapsed else None
        speed = mean if task.finished else task.speed or mean
        if not speed:
            return Text()
        shown = f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
        return Text(shown, style="progress.data.speed")


class _KnownBarColumn(BarColumn):
    """No bar where there is no total."""

    def render(self, task: Task) -> RenderableType:  # type: ignore[override]
        return Text() if task.total is None else super().render(task)


class _NoteColumn(ProgressColumn):
    """``update(task, note=...)``, if there is any."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("note", ""))


class _AboveTheBar(io.TextIOBase):
    """Stdout or stderr while a bar is shown: whole lines appear above it."""

    def __init__(self, console: Console, file: TextIO) -> None:
        self.file = file
        self._console = console
        self._process = os.getpid()
        self._rest = ""

    def write(self, text: str) -> int:
        if os.getpid() != self._process:  # a forked process may hold the console's lock for ever
            return self.file.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
        return len(text)

    def close_line(self) -> None:
        """Give back what had no end of line."""
        self.file.write(self._rest)

    def isatty(self) -> bool:
        return self.file.isatty()

    def fileno(self) -> int:
        return self.file.fileno()


class _Bar(Progress):
    """Rich's, above which log lines and prints appear whole.

    Rich would catch ``print`` but not the handlers of ``logging``, which hold the streams
    themselves.
    """

    _moved: dict[str, _AboveTheBar]

    def start(self) -> None:
        self._moved = {}
        super().start()
        if self.disable:
            return
        for name in ("stdout", "stderr"):
            file = getattr(sys, name)
            if file.isatty():  # what goes to a file or a pipe stays there
                self._moved[name] = _AboveTheBar(self.console, file)
                _replace(name, file, self._moved[name])

    def stop(self) -> None:
        for name, above in self._moved.items():
            _replace(name, above, above.file)
        super().stop()
        for above in self._moved.values():
            above.close_line()
        self._moved = {}


def _replace(name: str, old: object, new: object) -> None:
    """Exchange a stream of ``sys``, also where handlers of logs hold it."""
    if getattr(sys, name) is old:
        setattr(sys, name, new)
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):  # placeholders have none
            if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                handler.setStream(new)


def progress_bar(unit: str, background: bool = True, quiet: bool = False) -> Progress:
    """A bar with count, rate, time spent and time to go, on stderr; silent unless a person watches.

    Args:
        unit: what is counted, in the plural; ``add_task(unit=...)`` for another one.
        background: redrawn by a thread. Without, it is only where ``refresh`` is called, so that
            nothing disturbs what is timed.
        quiet: Whether to draw nothing, even if a person watches.
    """
    return _Bar(
        TextColumn("{task.description}"),
        _KnownBarColumn(),
        _CountColumn(unit),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        _NoteColumn(),
        console=Console(file=sys.stderr),
        auto_refresh=background,
        disable=quiet or not sys.stderr.isatty(),
        speed_estimate_period=REMEMBERED_SECONDS,
        redirect_stdout=False,
        redirect_stderr=False,
    )
