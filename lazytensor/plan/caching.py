"""Whether the run of this context keeps decoded chunks, and since when they must be known.

A chunk that was decoded before is only as good as the file that it was decoded from. Looking at a
file costs about as much as opening it, so it is looked at once in each run: the first time that the
run wants the chunk. What changes while a run reads may or may not be seen, as without a cache.

Engines say this here, drivers ask, and neither may import the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import NamedTuple

__all__ = ["CACHING", "Caching", "caching"]


class Caching(NamedTuple):
    """``nbytes``: how much of decoded chunks this process may keep. ``since``: number of the run;
    a chunk that was last compared with its file in an earlier one is compared again."""

    nbytes: int
    since: int


CACHING: ContextVar[Caching | None] = ContextVar("lazytensor_caching", default=None)
"""None: nothing is kept."""

_runs = count(1)


def new_run(nbytes: int) -> Caching | None:
    """What a run begins with that keeps ``nbytes``; None if that is nothing."""
    return Caching(nbytes, next(_runs)) if nbytes else None


@contextmanager
def caching(nbytes: int) -> Iterator[Caching | None]:
    """Keep up to ``nbytes`` of decoded chunks in the block, which is one run; 0: nothing.

    A run within a run is a part of it, and keeps what that keeps.

    >>> with caching(1 << 20) as outer, caching(0) as inner:
    ...     outer is inner, CACHING.get() is inner
    (True, True)
    """
    outer = CACHING.get()
    inner = new_run(nbytes) if outer is None else outer
    token = CACHING.set(inner)
    try:
        yield inner
    finally:
        CACHING.reset(token)
