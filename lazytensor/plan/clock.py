"""How long decoding takes, told by drivers to whoever measures a run.

Reading a chunk and decoding it are one call to whoever asked for values. A profile wants them
apart, and only the driver knows when it turns from one to the other. So whoever measures puts a
clock into this context variable, and drivers run it while they decode; nobody else pays more than a
look at the variable. It stands in ``plan`` because engines set it, drivers run it, and neither may
import the other.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from time import perf_counter_ns

__all__ = ["DECODING", "Clock", "decoding"]


class Clock:
    """Nanoseconds that one thread spent in ``with clock:`` blocks, which do not nest.

    >>> clock = Clock()
    >>> with clock: pass
    >>> clock.ns > 0
    True
    """

    __slots__ = ("_since", "consumed", "ns")

    def __init__(self) -> None:
        self.ns = 0
        self.consumed = 0
        """Nanoseconds of those in which a consumer (``plan.source.Consumer``) worked on values, as
        drivers add them up; it runs in between while a chunk is decoded."""
        self._since = 0

    def __enter__(self) -> None:
        self._since = perf_counter_ns()

    def __exit__(self, *exc_info: object) -> None:
        self.ns += perf_counter_ns() - self._since


DECODING: ContextVar[Clock | None] = ContextVar("lazytensor_decoding", default=None)
"""The clock of the read that this thread is at; None where nobody measures."""

_UNWATCHED: AbstractContextManager[None] = nullcontext()


def decoding() -> AbstractContextManager[None]:
    """A block in which bytes that were read are decoded.

    >>> with decoding(): pass
    """
    clock = DECODING.get()
    return _UNWATCHED if clock is None else clock
