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

from lazytensor.config import option

__all__ = [
    "CACHING", "DISK_CACHING", "Caching", "DiskCaching", "caching", "disk_caching", "new_disk_run",
]  # fmt: skip


class Caching(NamedTuple):
    """``nbytes``: how much of decoded chunks this process may keep. ``since``: number of the run;
    a chunk that was last compared with its file in an earlier one is compared again."""

    nbytes: int
    since: int


CACHING: ContextVar[Caching | None] = ContextVar("lazytensor_caching", default=None)
"""None: nothing is kept."""


class DiskCaching(NamedTuple):
    """Chunks are kept in ``folder``, which takes up to ``nbytes``; those of local files too, if
    ``local``. ``since``: number of the run, as in ``Caching``."""

    folder: str
    nbytes: int
    local: bool
    since: int


DISK_CACHING: ContextVar[DiskCaching | None] = ContextVar("lazytensor_disk_caching", default=None)
"""None: nothing is kept on the disk."""

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


def new_disk_run() -> DiskCaching | None:
    """What a run begins with that keeps chunks on the disk, as the options say; None if none."""
    folder = option("disk_cache")
    if not folder:
        return None
    return DiskCaching(folder, option("disk_cache_bytes"), option("disk_cache_local"), next(_runs))


@contextmanager
def disk_caching(use: DiskCaching) -> Iterator[DiskCaching]:
    """Keep chunks on the disk in the block; a run within a run is a part of it, as in ``caching``.

    >>> with disk_caching(DiskCaching("/nowhere", 1 << 20, False, 1)) as use:
    ...     DISK_CACHING.get() is use
    True
    """
    inner = DISK_CACHING.get() or use
    token = DISK_CACHING.set(inner)
    try:
        yield inner
    finally:
        DISK_CACHING.reset(token)
