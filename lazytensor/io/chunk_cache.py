"""Decoded chunks that are kept for the next reader: one cache for all threads of the process.

Chunks of one size share slabs of some MiB, so that memory is recycled without being given back and
faulted in anew, and a bound on the bytes is a bound on the slabs. The chunk that was used longest
ago makes room; if it is of another size, its whole slab does. What somebody is reading or filling
is never taken away: where nothing else is left, a chunk is read without being kept.

A chunk that two threads want is decoded by one of them (*mine*); the other (*theirs*) waits. Nobody
waits while others wait for him: who fills chunks publishes all of them before he waits.

``states`` tell whether a chunk is still what its file holds (see ``plan.caching``). A forked child
starts with an empty cache: what it inherited may be half changed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.native.addresses import address_of_words
from lazytensor.plan.caching import Caching

__all__ = ["HELD", "MINE", "NO_ROOM", "THEIRS", "ChunkCache", "Taken", "chunk_cache"]

HELD, MINE, THEIRS, NO_ROOM = range(4)
"""What becomes of a chunk that was asked for: it is there; the asker must fill it; somebody else
does; it is not kept, and has no slot."""

_READY, _FILLING, _FAILED = range(3)
_SLAB = 8 << 20
_ALIGN = 64
_FIRST_SLOTS = 64
_AT_ONCE = 16
_MANY_SHELVES = 256

_NOTHING: dict[int, int] = {}
_States = Callable[[Sequence[int], Sequence[Hashable]], Sequence[Hashable | None]]


class Taken(NamedTuple):
    """Chunks that somebody uses until he gives them back.

    ``slots``: int64, -1 without one. ``addresses``: int64, where each one's values are, or go; 0
    without a slot. ``fates``: ``HELD``, ``MINE``, ``THEIRS`` or ``NO_ROOM``.
    """

    slots: np.ndarray
    addresses: np.ndarray
    fates: np.ndarray


class _Slab:
    """Memory of some slots of one size."""

    __slots__ = ("address", "idle", "memory", "room", "slots")

    def __init__(self, room: int, count: int) -> None:
        self.room = room
        self.memory = np.empty(room * count + _ALIGN, np.uint8)
        start = address_of_words(self.memory)
        self.address = -(-start // _ALIGN) * _ALIGN
        self.slots: list[int] = []
        self.idle = count


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
        self._lock = threading.Lock()
        self._published = threading.Condition(self._lock)
        self._shelves: dict[Hashable, dict[int, int]] = {}
        self._address, self._stamp, self._pins, self._since, self._phase = np.zeros(
            (5, _FIRST_SLOTS), np.int64
        )
        self._homes: list[_Slab | None] = [None] * _FIRST_SLOTS
        self._labels: list[tuple[Hashable, int] | None] = [None] * _FIRST_SLOTS
        self._states: list[Hashable] = [None] * _FIRST_SLOTS
        self._unused = list(range(_FIRST_SLOTS))[::-1]
        self._idle: dict[int, list[int]] = {}
        self._slabs: list[_Slab] = []
        self._oldest: list[tuple[int, int]] = []
        # Slots that nobody finds any more and somebody still uses.
        self._orphans: set[int] = set()
        self._clock = 0
        self.nbytes = 0
        """Bytes of all slabs."""

    def renew_lock(self) -> None:
        """In a forked child, whose parent's other threads may have held it."""
        self._lock = threading.Lock()
        self._published = threading.Condition(self._lock)

    def take(
        self, shelf: Hashable, units: Sequence[int], nbytes: int, use: Caching, states: _States
    ) -> Taken:
        """Ask for distinct chunks of ``nbytes`` bytes each, by number, of the array ``shelf``.

        ``states(units, known)``: what their files are like now, None for those that are not to be
        kept; it is asked, without a lock, for chunks that are new to the cache or to this run,
        before anything is read, and told what they were like before (None: new). Those that
        are ``MINE`` must be published, and in any case everything given back.
        """
        count = len(units)
        fates = np.full(count, NO_ROOM)
        with self._lock:
            self._clock += 1
            found = self._shelves.get(shelf, _NOTHING)
            slots = np.array([found.get(unit, -1) for unit in units], np.int64)
            good = (slots >= 0) & (self._since[slots] >= use.since) & (self._phase[slots] == _READY)
            held = slots[good]
            self._pins[held] += 1
            self._stamp[held] = self._clock
            unsure = np.flatnonzero(~good).tolist() if len(held) < count else []
            before = [self._states[slot] if slot >= 0 else None for slot in slots[unsure].tolist()]
        fates[good] = HELD
        slots[~good] = -1
        if unsure:
            known = states([units[i] for i in unsure], before)
            with self._lock:
                found = self._shelves.setdefault(shelf, {})
                for i, state in zip(unsure, known, strict=True):
                    if state is not None:
                        slots[i], fates[i] = self._look(found, shelf, units[i], nbytes, use, state)
                self._sweep()
        addresses = np.where(slots >= 0, self._address[slots], 0)
        return Taken(slots, addresses, fates)

    def _look(
        self,
        found: dict[int, int],
        shelf: Hashable,
        unit: int,
        nbytes: int,
        use: Caching,
        state: Hashable,
    ) -> tuple[int, int]:
        """Slot and fate of one chunk whose state is known."""
        slot = found.get(unit, -1)
        if slot >= 0 and self._states[slot] != state:
            self._forget(slot)
            slot = -1
        if slot >= 0:
            fate = HELD if self._phase[slot] == _READY else THEIRS
            self._since[slot] = max(self._since[slot], use.since)
        else:
            slot, fate = self._room(-(-nbytes // _ALIGN) * _ALIGN, use.nbytes), MINE
            if slot < 0:
                return -1, NO_ROOM
            found[unit] = slot
            self._labels[slot], self._states[slot] = (shelf, unit), state
            self._phase[slot], self._since[slot] = _FILLING, use.since
        self._pins[slot] += 1
        self._stamp[slot] = self._clock
        return slot, fate

    def publish(self, taken: Taken, filled: np.ndarray) -> None:
        """Those of ``MINE`` that are ``filled`` (bool) are there for everybody; others failed."""
        mine = taken.fates == MINE
        if not mine.any():
            return
        with self._lock:
            self._phase[taken.slots[mine & filled]] = _READY
            for slot in taken.slots[mine & ~filled].tolist():
                self._phase[slot] = _FAILED
                self._forget(slot)
            taken.fates[mine & filled] = HELD
            taken.fates[mine & ~filled] = NO_ROOM
            self._unpin(taken.slots[mine & ~filled])
            taken.slots[mine & ~filled] = -1
            self._published.notify_all()

    def await_others(self, taken: Taken) -> None:
        """Wait until those that are ``THEIRS`` are filled or failed, and say which they are."""
        theirs = np.flatnonzero(taken.fates == THEIRS)
        if not len(theirs):
            return
        slots = taken.slots[theirs]
        with self._lock:
            while (self._phase[slots] == _FILLING).any():
                self._published.wait()
            good = self._phase[slots] == _READY
            taken.fates[theirs] = np.where(good, HELD, NO_ROOM)
            self._unpin(slots[~good])
            taken.slots[theirs[~good]] = -1

    def give_back(self, taken: Taken) -> None:
        """The values are no longer looked at; chunks that were never published have failed."""
        self.publish(taken, np.zeros(len(taken.slots), np.bool_))
        with self._lock:
            self._unpin(taken.slots[taken.slots >= 0])
        taken.slots.fill(-1)

    def _unpin(self, slots: np.ndarray) -> None:
        self._pins[slots] -= 1
        if not self._orphans:
            return
        for slot in slots.tolist():
            if slot in self._orphans and not self._pins[slot]:
                self._orphans.remove(slot)
                self._retire(slot)

    def _sweep(self) -> None:
        """Forget arrays of which nothing is kept, once there are many."""
        if len(self._shelves) > _MANY_SHELVES:
            self._shelves = {shelf: units for shelf, units in self._shelves.items() if units}

    def _forget(self, slot: int) -> None:
        """Let nobody find a chunk any more; its slot is free once nobody uses it."""
        label = self._labels[slot]
        if label is None:
            return
        shelf, unit = label
        del self._shelves[shelf][unit]
        self._labels[slot] = self._states[slot] = None
        if self._pins[slot]:
            self._orphans.add(slot)
        else:
            self._retire(slot)

    def _retire(self, slot: int) -> None:
        home = self._homes[slot]
        assert home is not None
        home.idle += 1
        self._idle[home.room].append(slot)

    def _room(self, room: int, most: int) -> int:
        """A slot of ``room`` bytes, or -1 if there is none without more than ``most`` bytes."""
        while self.nbytes > most:
            if not self._drop_one(None):
                return -1
        while True:
            idle = self._idle.get(room)
            if idle:
                slot = idle.pop()
                home = self._homes[slot]
                assert home is not None
                home.idle -= 1
                return slot
            fit = (most - self.nbytes - _ALIGN) // room
            if fit > 0:
                self._add_slab(room, min(fit, max(1, _SLAB // room)))
            elif not self._drop_one(room):
                return -1

    def _drop_one(self, room: int | None) -> bool:
        """Free a slot of ``room`` bytes, or a slab of others; False if all that is left is in use.

        Without ``room``, a slab of any kind.
        """
        for slab in self._slabs:
            if slab.idle == len(slab.slots) and slab.room != room:
                self._drop_slab(slab)
                return True
        slot = self._next_oldest()
        if slot < 0:
            return False
        home = self._homes[slot]
        assert home is not None
        if home.room == room:
            self._forget(slot)
            return True
        for other in home.slots:
            if not self._pins[other]:
                self._forget(other)
        if home.idle == len(home.slots):
            self._drop_slab(home)
        return True

    def _next_oldest(self) -> int:
        """The slot that was used longest ago and is not in use, or -1.

        They are put in order some at a time; whatever is not among those was used later.
        """
        for again in (False, True):
            while self._oldest:
                slot, stamp = self._oldest.pop()
                if self._stamp[slot] == stamp and not self._pins[slot] and self._labels[slot]:
                    return slot
            if not again:
                kept = np.array([label is not None for label in self._labels])
                slots = np.flatnonzero(kept & (self._pins == 0))
                order = slots[np.argsort(self._stamp[slots], kind="stable")]
                order = order[: max(_AT_ONCE, len(order) // 8)][::-1]
                self._oldest = list(zip(order.tolist(), self._stamp[order].tolist(), strict=True))
        return -1

    def _add_slab(self, room: int, count: int) -> None:
        slab = _Slab(room, count)
        self._slabs.append(slab)
        self.nbytes += slab.memory.nbytes
        while len(self._unused) < count:
            self._grow()
        for i in range(count):
            slot = self._unused.pop()
            slab.slots.append(slot)
            self._homes[slot] = slab
            self._address[slot] = slab.address + i * room
        self._idle.setdefault(room, []).extend(slab.slots[::-1])

    def _drop_slab(self, slab: _Slab) -> None:
        """Give back a slab whose slots are all idle."""
        self._slabs.remove(slab)
        self.nbytes -= slab.memory.nbytes
        gone = set(slab.slots)
        self._idle[slab.room] = [slot for slot in self._idle[slab.room] if slot not in gone]
        for slot in slab.slots:
            self._homes[slot] = None
        self._unused.extend(slab.slots)

    def _grow(self) -> None:
        old = len(self._homes)
        more = np.zeros(old, np.int64)
        for name in ("_address", "_stamp", "_pins", "_since", "_phase"):
            setattr(self, name, np.concatenate((getattr(self, name), more)))
        self._homes += [None] * old
        self._labels += [None] * old
        self._states += [None] * old
        self._unused += range(old, 2 * old)

    def memory_of(self, slot: int) -> tuple[np.ndarray, int]:
        """The array of bytes that a slot is in, and where in it."""
        with self._lock:
            home = self._homes[slot]
            assert home is not None
            start = address_of_words(home.memory)
            return home.memory, int(self._address[slot]) - start

    def in_use(self) -> bool:
        """Whether anybody has not given back what he took."""
        with self._lock:
            return bool(self._pins.any())

    def clear(self) -> None:
        """Forget everything that nobody uses."""
        with self._lock:
            while self._drop_one(None):
                pass


_cache = ChunkCache()


def chunk_cache() -> ChunkCache:
    """The cache of this process."""
    return _cache


def _after_fork_in_child() -> None:
    global _cache
    _cache.renew_lock()
    _cache = ChunkCache()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
