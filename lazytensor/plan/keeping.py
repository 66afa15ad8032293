"""What the tasks of one run have in common, and nobody keeps after it.

A source is read by many tasks. Some of what reading takes is the same for all of them (a stream
that can only be decoded from its start), or is made of what each of them did (a checksum of the
whole). It belongs to the run: a source lives longer, a task does not live long enough.

Engines begin and end a run here, sources put things there, and neither may import the other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

__all__ = ["keeping", "kept"]

_T = TypeVar("_T")
_KEPT: ContextVar[dict[Hashable, Any] | None] = ContextVar("lazytensor_kept", default=None)


@contextmanager
def keeping() -> Iterator[None]:
    """Keep what tasks have in common until the end of the block."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def kept(key: Hashable, make: Callable[[], _T]) -> _T:
    """What the run of this context keeps under ``key``, made now if there is nothing yet.

    Two threads may both call ``make``, but both get what one of them made. Outside of a run it is
    made each time.

    >>> kept("a", list) is kept("a", list)
    False
    >>> with keeping():
    ...     kept("a", list) is kept("a", list)
    True
    """
    values = _KEPT.get()
    if values is None:
        return make()
    found = values.get(key)
    return cast(_T, values.setdefault(key, make()) if found is None else found)
