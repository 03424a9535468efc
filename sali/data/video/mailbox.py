"""Exchange of one item at a time between two threads."""

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Queue of at most one item: one thread puts, another takes.

    Args:
        replaces: A new item takes the place of one that nobody took; else `put` waits.

    Attributes:
        received: Number of items that were put.
        dropped: Number of items whose place was taken.
    """

    def __init__(self, replaces: bool) -> None:
        self.received = 0
        self.dropped = 0
        self._replaces = replaces
        self._item: Item | None = None
        self._closed = False
        # Reentrant: a signal handler may close it while its thread holds the lock.
        self._changed = threading.Condition(threading.RLock())

    def put(self, item: Item) -> bool:
        """Leave an item; return False if the mailbox is closed."""
        with self._changed:
            while not self._replaces and self._item is not None and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self.received += 1
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()
            return True

    def take(self) -> Item | None:
        """Return the next item as soon as there is one; None when closed and empty."""
        with self._changed:
            while self._item is None and not self._closed:
                self._changed.wait(0.2)  # signals are handled in between
            item, self._item = self._item, None
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Refuse further items; one that is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
