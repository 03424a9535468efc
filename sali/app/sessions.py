"""All open pages, and the end of those that nobody looks at any more."""

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sali.app.session import Session
from sali.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
"""Seconds between two looks for pages to be closed."""


@dataclass(frozen=True)
class Lifetimes:
    """When things end.

    Attributes:
        lost_seconds: a page that asks for nothing for so long was closed without a word.
        keep_minutes: results and uploads are deleted after so long without a run or a click.
    """

    lost_seconds: float
    keep_minutes: float


class Sessions:
    """Open pages by their tokens.

    Args:
        folder: private; every session has a folder in it.
        make: (token, folder) -> session.
        capacity: pages open at once.
        lifetimes: when they end.
    """

    def __init__(
        self,
        folder: Path,
        make: Callable[[str, Path], Session],
        capacity: int,
        lifetimes: Lifetimes,
    ) -> None:
        self._folder = folder
        self._make = make
        self._capacity = capacity
        self._lifetimes = lifetimes
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._janitor = threading.Thread(target=self._look_after, name="janitor", daemon=True)
        self._janitor.start()

    def __len__(self) -> int:
        return len(self._open)

    def open(self) -> Session:
        """A session for a page that was just loaded.

        Raises:
            ConfigError: there are too many.
        """
        token = secrets.token_urlsafe(24)
        with self._lock:
            if len(self._open) >= self._capacity:
                raise ConfigError(
                    f"{self._capacity} pages are open, which is all that max_sessions allows; "
                    "close one and reload"
                )
            self._open[token] = session = self._make(token, self._folder / token)
        return session

    def get(self, token: str) -> Session:
        """The session of a page.

        Raises:
            ConfigError: it ended.
        """
        session = self._open.get(token)
        if session is None:
            raise ConfigError("this page was closed or lost its connection; reload it")
        return session

    def close(self, token: str) -> None:
        """End a page's session; nothing happens if it ended before."""
        with self._lock:
            session = self._open.pop(token, None)
        if session is not None:
            session.close()

    def stop(self) -> None:
        """End all of them and delete the folder."""
        self._stopped.set()
        self._janitor.join()
        for token in list(self._open):
            self.close(token)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _look_after(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            for token, session in list(self._open.items()):
                if time.monotonic() - session.seen > self._lifetimes.lost_seconds:
                    log.info("a page is gone: its run ends")
                    self.close(token)
                elif session.idle > 60 * self._lifetimes.keep_minutes:
                    minutes = self._lifetimes.keep_minutes
                    session.expire(f"Deleted after {minutes:g} minutes without use: upload, result")
