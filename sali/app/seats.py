"""How many run at once, and who is next."""

import threading
from collections.abc import Callable, Hashable


class Seats:
    """A line of which the first ``count`` are seated; others move up when one leaves.

    Args:
        count: jobs that may run at once.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._line: list[Hashable] = []
        self._moved = threading.Condition(threading.RLock())

    def join(self, who: Hashable) -> None:
        with self._moved:
            self._line.append(who)

    def leave(self, who: Hashable) -> None:
        """Give up the seat or the place in the line; nothing happens without one."""
        with self._moved:
            if who in self._line:
                self._line.remove(who)
                self._moved.notify_all()

    def position(self, who: Hashable) -> int | None:
        """0 when seated, 1 for the first who waits ...; None for one who is not in the line."""
        with self._moved:
            return max(0, self._line.index(who) - self._count + 1) if who in self._line else None

    def wait(self, who: Hashable, tell: Callable[[int], None]) -> bool:
        """Until there is a seat.

        Args:
            who: has joined.
            tell: is called with every position on the way.

        Returns:
            False for one who left the line instead.
        """
        told = 0
        with self._moved:
            while position := self.position(who):
                if position != told:
                    tell(position)
                    told = position
                self._moved.wait()
            return position is not None
