"""Decoded chunks that are kept for the next reader: one cache for all threads of the process.

What is kept where is in ``chunk_books``; here is who may look at it when. What somebody is reading
or filling is never taken away: where nothing else is left, a chunk is read without being kept.

A chunk that two threads want is decoded by one of them (*mine*); the other (*theirs*) waits. Nobody
waits while others wait for him: who fills chunks publishes all of them before he waits. And nobody
waits forever: who fills may have been interrupted, and be waiting for the very one that waits.

Whoever is interrupted (by Ctrl-C, at any line) leaves nothing in use behind. What he has taken is
given back when it is given up, or at the latest when nobody knows of it any more; and if he was
just changing the books, those are closed and new ones begun: all is forgotten, while the memory
stays for as long as somebody looks at it.

``states`` tell whether a chunk is still what its file holds (see ``plan.caching``). A forked child
starts with an empty cache: what it inherited may be half changed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from lazytensor.io.chunk_books import HELD, MINE, NO_ROOM, READY, THEIRS, Books, Taken
from lazytensor.plan.caching import Caching
from lazytensor.plan.counters import GAUGES
from lazytensor.plan.stopping import is_stopped

__all__ = ["HELD", "MINE", "NO_ROOM", "THEIRS", "ChunkCache", "Taken", "chunk_cache"]

_LOOK_AGAIN = 0.1
_PATIENCE = 5.0
"""Seconds after which a chunk that somebody else fills is decoded once more."""

_States = Callable[[Sequence[int], Sequence[Hashable]], Sequence[Hashable | None]]


class ChunkCache:
    """See the module.

    >>> cache = ChunkCache()
    >>> use = Caching(1 << 20, since=1)
    >>> taken = cache.take("an array", [7, 9], 1000, use, lambda units, _: ["state"] * len(units))
    >>> taken.fates.tolist()
    [1, 1]
    >>> cache.publish(taken, taken.fates == MINE); cache.give_back(taken)
    >>> cache.take("an array", [9], 1000, use, lambda units, _: ["state"]).fates.tolist()
    [0]
    """

    def __init__(self) -> None:
        self._books = Books()
        self.renew_lock()

    def renew_lock(self) -> None:
        """In a forked child, whose parent's other threads may have held it."""
        self._lock = threading.Lock()
        self._published = threading.Condition(self._lock)

    @property
    def nbytes(self) -> int:
        """Bytes of all slabs."""
        return self._books.nbytes

    def _begin_anew(self, books: Books) -> None:
        """Forget all, after an interruption at who knows which line."""
        books.closed = True
        if self._books is books:
            self._books = Books()
        self._published.notify_all()

    def take(
        self,
        shelf: Hashable,
        units: Sequence[int],
        nbytes: int,
        use: Caching,
        states: _States,
        taken: Taken | None = None,
    ) -> Taken:
        """Ask for distinct chunks of ``nbytes`` bytes each, by number, of the array ``shelf``.

        ``states(units, known)``: what their files are like now, None for those that are not to be
        kept; it is asked, without a lock, for chunks that are new to the cache or to this run,
        before anything is read, and told what they were like before (None: new). Those that
        are ``MINE`` must be published, and in any case everything given back. ``taken``: where to
        put them; it holds nothing yet. After an error it holds nothing again.
        """
        if taken is None:
            taken = Taken.nothing(len(units))
        try:
            with self._lock:
                books = taken.books = self._books
                try:
                    unsure, before = books.find(taken, shelf, units, use)
                except BaseException:
                    self._begin_anew(books)
                    raise
            if not unsure:
                return taken
            asked = {i: units[i] for i in unsure}
            known = states(list(asked.values()), before)
            with self._lock:
                try:
                    if not books.closed:
                        books.enter(taken, shelf, asked, known, nbytes, use)
                except BaseException:
                    self._begin_anew(books)
                    raise
            return taken
        except BaseException:
            self.give_back(taken)
            raise

    def publish(self, taken: Taken, filled: np.ndarray) -> None:
        """Those of ``MINE`` that are ``filled`` (bool) are there for everybody; others failed."""
        mine, books = taken.fates == MINE, taken.books
        if books is None or not mine.any():
            return
        with self._lock:
            try:
                if not books.closed:
                    books.settle(taken, mine, filled)
                taken.fates[mine & filled] = HELD
                taken.fates[mine & ~filled] = NO_ROOM
                taken.slots[mine & ~filled] = -1
                self._published.notify_all()
            except BaseException:
                self._begin_anew(books)
                raise

    def await_others(self, taken: Taken) -> None:
        """Wait until those that are ``THEIRS`` are filled or failed, and say which they are."""
        theirs, books = np.flatnonzero(taken.fates == THEIRS), taken.books
        if books is None or not len(theirs):
            return
        slots, latest = taken.slots[theirs], time.monotonic() + _PATIENCE
        with self._lock:
            try:
                while not books.closed and books.wait_for(
                    slots, give_up=is_stopped() or time.monotonic() > latest
                ):
                    self._published.wait(_LOOK_AGAIN)
                good = np.zeros(len(slots), np.bool_)
                if not books.closed:
                    good = books.phase[slots] == READY
                    books.unpin(slots[~good])
                taken.fates[theirs] = np.where(good, HELD, NO_ROOM)
                taken.slots[theirs[~good]] = -1
            except BaseException:
                self._begin_anew(books)
                raise

    def give_back(self, taken: Taken) -> None:
        """The values are no longer looked at; chunks that were never published have failed."""
        books = taken.books
        if books is None:
            return
        self.publish(taken, np.zeros(len(taken.slots), np.bool_))
        with self._lock:
            try:
                if not books.closed:
                    books.unpin(taken.slots[taken.slots >= 0])
                taken.slots.fill(-1)
            except BaseException:
                self._begin_anew(books)
                raise

    def memory_of(self, taken: Taken, at: int) -> tuple[np.ndarray, int]:
        """The array of bytes that a chunk that was taken is in, and where in it."""
        assert taken.books is not None
        with self._lock:
            return taken.books.memory_of(int(taken.slots[at]))

    def in_use(self) -> bool:
        """Whether anybody has not given back what he took."""
        with self._lock:
            books = self._books
            books.look_after_lost()
            return bool(books.pins.any())

    def clear(self) -> None:
        """Forget everything that nobody uses."""
        with self._lock:
            books = self._books
            try:
                books.look_after_lost()
                while books.drop_one(None):
                    pass
            except BaseException:
                self._begin_anew(books)
                raise


_cache = ChunkCache()


def chunk_cache() -> ChunkCache:
    """The cache of this process."""
    return _cache


GAUGES["cache_nbytes"] = lambda: _cache.nbytes


def _after_fork_in_child() -> None:
    global _cache
    _cache.renew_lock()
    _cache = ChunkCache()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
