"""A read that several threads work on: each takes the next part until there is none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from lazytensor.io.store import StoredObject
from lazytensor.io.stored import Stored
from lazytensor.plan.counters import count as counted
from lazytensor.plan.stopping import is_stopped

__all__ = ["SharedPieces", "share_pieces"]


class SharedPieces:
    """Parts of one read, as ``plan.source.Reading``: ``work(whole, number)`` reads one of them."""

    __slots__ = ("_next", "_number", "_whole", "_work")

    def __init__(
        self, whole: StoredObject, number: int, work: Callable[[StoredObject, int], None]
    ) -> None:
        self._whole = whole
        self._number = number
        self._work = work
        self._next = count()

    def work(self) -> None:
        """Read parts until none is left, or the run is stopped."""
        while not is_stopped() and (at := next(self._next)) < self._number:
            self._work(self._whole, at)

    def end(self) -> None:
        """Count it."""
        counted("units_read")

    def close(self) -> None:
        """Close the file."""
        self._whole.close()


def share_pieces(
    stored: Stored, number: int, work: Callable[[StoredObject, int], None]
) -> SharedPieces:
    """Open the file for ``number`` parts to be read by several threads."""
    return SharedPieces(stored.open(), number, work)
