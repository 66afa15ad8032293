"""Units that have been read and are kept: whoever comes next does not read them again.

An image in one row is read as a whole, whatever is wanted of it, so that reading it once for all
plans of the process is what makes looking at its planes one by one bearable. Of row groups that are
small, a thousand crops touch the same few again and again.

A unit that two threads want is read by one of them; the other waits. Nobody waits forever: if who
reads was interrupted or failed, who waits reads it himself. A forked child starts with nothing.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable

from lazytensor.io.ome_arrow.model import Unit
from lazytensor.plan.counters import GAUGES
from lazytensor.plan.limits import memory_limit
from lazytensor.plan.stopping import is_stopped

__all__ = ["UnitCache", "unit_cache"]

_SHARE = 4
_LOOK_AGAIN = 0.1
_KEPT_STATES = 1024
_PATIENCE = 60.0
"""Seconds after which a unit that somebody else reads is read once more."""


class _Turn:
    """Who reads a unit; gone when he is."""

    __slots__ = ("__weakref__", "since", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.since = time.monotonic()


_caches: weakref.WeakSet[UnitCache] = weakref.WeakSet()


class UnitCache:
    """The most recently used units, up to a quarter of ``max_memory``, and always the last one.

    ``most``: another limit, in bytes.

    >>> cache = UnitCache(most=100)
    >>> unit = type("Made", (), {"nbytes": 80})
    >>> a, b = cache.get("a", unit), cache.get("b", unit)
    >>> cache.get("b", unit) is b, cache.kept("a"), cache.nbytes
    (True, False, 80)
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self.start_anew()
        _caches.add(self)

    def start_anew(self) -> None:
        """Forget everything, and in a forked child who held the lock."""
        self._units: OrderedDict[Hashable, tuple[Unit, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._turns: dict[Hashable, weakref.ref[_Turn]] = {}
        self._states: dict[Hashable, Hashable] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all units that are kept."""
        return self._used

    def kept(self, key: Hashable) -> bool:
        """Whether a unit is there."""
        return key in self._units

    def peek(self, key: Hashable) -> Unit | None:
        """A unit, if it is there, without using it."""
        found = self._units.get(key)
        return None if found is None else found[0]

    def found(self, key: Hashable) -> Unit | None:
        """A unit, if it is there."""
        with self._lock:
            kept = self._units.get(key)
            if kept is None:
                return None
            self._units.move_to_end(key)
            return kept[0]

    def get(self, key: Hashable, read: Callable[[], Unit]) -> Unit:
        """A unit, read by this thread if nobody else has, or is about to."""
        kept = self.found(key)
        if kept is not None:
            return kept
        turn = _Turn()
        try:
            found = self._claim(key, turn)
            if found is not None:
                return found
            unit = read()
            self._keep(key, unit)
            return unit
        finally:
            self._release(key, turn)

    def _claim(self, key: Hashable, turn: _Turn) -> Unit | None:
        """The unit, or None if it is this thread's turn to read it."""
        with self._lock:
            while True:
                found = self._units.get(key)
                if found is not None:
                    self._units.move_to_end(key)
                    return found[0]
                reference = self._turns.get(key)
                other = None if reference is None else reference()
                if other is None or time.monotonic() - other.since > _PATIENCE:
                    self._turns[key] = weakref.ref(turn)
                    return None
                if other.thread == turn.thread or is_stopped():
                    # A finalizer in the midst of reading it, or somebody who is about to end.
                    return None
                del other
                self._done.wait(_LOOK_AGAIN)

    def _keep(self, key: Hashable, unit: Unit) -> None:
        limit = memory_limit() // _SHARE if self._most is None else self._most
        nbytes = unit.nbytes
        with self._lock:
            try:
                self._used += nbytes - self._units.pop(key, (None, 0))[1]
                self._units[key] = unit, nbytes
                while self._used > limit and len(self._units) > 1:
                    self._used -= self._units.popitem(last=False)[1][1]
            except BaseException:  # interrupted at who knows which line
                self._forget()
                raise

    def turn_to(self, place: Hashable, state: Hashable) -> None:
        """Forget what is kept of a place in another state than this one, which keys begin with.

        A file that was written anew does not come back, and what was read of it is in the way.
        """
        with self._lock:
            former = self._states.pop(place, state)
            self._states[place] = state
            while len(self._states) > _KEPT_STATES:
                del self._states[next(iter(self._states))]
            if former == state:
                return
            for key in [key for key in self._units if _begins_with(key, former)]:
                self._used -= self._units.pop(key)[1]

    def _forget(self) -> None:
        self._units = OrderedDict()
        self._used = 0

    def _release(self, key: Hashable, turn: _Turn) -> None:
        with self._lock:
            reference = self._turns.get(key)
            if reference is not None and reference() in (turn, None):
                del self._turns[key]
                self._done.notify_all()

    def clear(self) -> None:
        """Forget all units; who looks at one keeps it."""
        with self._lock:
            self._forget()


def _begins_with(key: Hashable, state: Hashable) -> bool:
    """Whether a key, or what it begins with, and so on, is a state."""
    while key != state:
        if not isinstance(key, tuple) or not key:
            return False
        key = key[0]
    return True


_cache = UnitCache()


def unit_cache() -> UnitCache:
    """The cache of this process."""
    return _cache


GAUGES["ome_arrow_nbytes"] = lambda: _cache.nbytes


def _after_fork_in_child() -> None:
    for cache in list(_caches):
        cache.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
