"""Whether this thread is inside a user's reader right now.

A reader (``virtual_chunked``, an array-like) runs on a worker thread of an engine. Were it to
collect on the same engine, the worker would wait for work that only workers can do. So whoever
calls user code says so here, and engines ask before they start: an error is better than a deadlock.
The flag stands in ``plan`` because sources set it, engines read it, and neither may import the
other.
"""

from __future__ import annotations

import threading
from types import TracebackType

__all__ = ["in_reader", "reading"]


class _Depth(threading.local):
    def __init__(self) -> None:
        self.value = 0


_depth = _Depth()


def in_reader() -> bool:
    """Whether the calling thread is inside ``with reading():``.

    >>> in_reader()
    False
    """
    return _depth.value > 0


class reading:  # used as a statement: ``with reading():``
    """Marks a block as user code that runs for an engine.

    >>> with reading():
    ...     in_reader()
    True
    """

    __slots__ = ()

    def __enter__(self) -> None:
        _depth.value += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _depth.value -= 1
