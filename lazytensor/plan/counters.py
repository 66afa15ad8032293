"""Process-wide counters of what was read and computed (``lt.metrics``).

Drivers and engines both count, and neither may import the other, so the numbers live here.
Counting must be cheap and never block a reader: each thread owns a row of plain integers, and a
snapshot adds the rows up.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable

__all__ = ["GAUGES", "count", "of_this_thread", "snapshot"]

GAUGES: dict[str, Callable[[], int]] = {}
"""What is not counted but is so much now, such as the bytes of a cache, by name: filled in by who
knows, when that is imported."""

_local = threading.local()
_rows: list[dict[str, int]] = []
_retired: dict[str, int] = defaultdict(int)
# Re-entrant: an owner may be collected, and retire its row, inside the guarded block.
_lock = threading.RLock()


def _after_fork() -> None:
    """The child starts with a free lock and counts on from what the parent had."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Owner:
    """Lives in thread-local storage and hands its row over when the thread is gone."""

    def __init__(self) -> None:
        self.row: dict[str, int] = defaultdict(int)
        with _lock:
            _rows.append(self.row)

    def __del__(self) -> None:
        with _lock:
            for i, row in enumerate(_rows):
                if row is self.row:
                    del _rows[i]
                    break
            for name, value in self.row.items():
                _retired[name] += value


def count(name: str, amount: int = 1) -> None:
    """Add to a counter of this thread."""
    try:
        row = _local.owner.row
    except AttributeError:
        row = of_this_thread()
    row[name] += amount


def of_this_thread() -> dict[str, int]:
    """The counters of the calling thread, as they grow; what is not in them yet is 0.

    >>> before = of_this_thread()["doctest"]
    >>> count("doctest"); of_this_thread()["doctest"] - before
    1
    """
    if not hasattr(_local, "owner"):
        _local.owner = _Owner()
    row: dict[str, int] = _local.owner.row
    return row


def snapshot(reset: bool = False) -> dict[str, int]:
    """Totals over all threads since the start or the last reset.

    >>> count("doctest", 2); snapshot()["doctest"] >= 2
    True
    """
    with _lock:
        total: dict[str, int] = defaultdict(int, _retired)
        for row in _rows:
            for name, value in list(row.items()):
                total[name] += value
        if reset:
            # Rows belong to running threads: subtract instead of clearing under their feet.
            for name, value in total.items():
                _retired[name] -= value
    return {name: value for name, value in total.items() if value}
