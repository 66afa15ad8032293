"""Which decoded chunks are kept, where, and how many use each: the books of the cache.

They know nothing of threads: whoever calls them holds the lock of the cache (``io.chunk_cache``).
Chunks of one size share slabs of some MiB, so that memory is recycled without being given back and
faulted in anew, and a bound on the bytes is a bound on the slabs. The chunk that was used longest
ago makes room; if it is of another size, its whole slab does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence, Set

import numpy as np

from lazytensor.native.addresses import address_of_words
from lazytensor.plan.caching import Caching

__all__ = ["FILLING", "HELD", "MINE", "NO_ROOM", "READY", "THEIRS", "Books", "Taken"]

HELD, MINE, THEIRS, NO_ROOM = range(4)
"""What becomes of a chunk that was asked for: it is there; the asker must fill it; somebody else
does; it is not kept, and has no slot."""

READY, FILLING, _FAILED = range(3)
"""What becomes of a chunk that has a slot."""

_SLAB = 8 << 20
_ALIGN = 64
_FIRST_SLOTS = 64
_AT_ONCE = 16
_MANY_SHELVES = 256
_PATIENCE = 5.0
"""Seconds that are waited for what others decode, before it is decoded once more."""

_NOTHING: dict[int, int] = {}


class Taken:
    """Chunks that somebody uses until he gives them back.

    ``slots``: int64, -1 without one. ``addresses``: int64, where each one's values are, or go; 0
    without a slot. ``fates``: ``HELD``, ``MINE``, ``THEIRS`` or ``NO_ROOM``. ``books``: of which
    books of the cache these are the slots, if of any.
    """

    __slots__ = ("addresses", "books", "fates", "slots")

    def __init__(
        self,
        slots: np.ndarray,
        addresses: np.ndarray,
        fates: np.ndarray,
        books: Books | None = None,
    ) -> None:
        self.slots = slots
        self.addresses = addresses
        self.fates = fates
        self.books = books

    @classmethod
    def nothing(cls, count: int, books: Books | None = None) -> Taken:
        """Of so many chunks none."""
        zeros = np.zeros(count, np.int64)
        return cls(zeros - 1, zeros, zeros + NO_ROOM, books)

    def __del__(self) -> None:
        # Locks cannot be had here: whoever takes next looks after it. (Half made, it has no books.)
        books = getattr(self, "books", None)
        if books is not None and (self.slots >= 0).any():
            books.lost.append((self.slots, self.fates))


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


class Books:
    """Which chunks there are, where, and how many use each; for whoever holds the lock."""

    def __init__(self) -> None:
        self.shelves: dict[Hashable, dict[int, int]] = {}
        self.address, self.stamp, self.pins, self.since, self.phase = np.zeros(
            (5, _FIRST_SLOTS), np.int64
        )
        self._homes: list[_Slab | None] = [None] * _FIRST_SLOTS
        self._labels: list[tuple[Hashable, int] | None] = [None] * _FIRST_SLOTS
        self.states: list[Hashable] = [None] * _FIRST_SLOTS
        self._unused = list(range(_FIRST_SLOTS))[::-1]
        self._idle: dict[int, list[int]] = {}
        self._slabs: list[_Slab] = []
        self._oldest: list[tuple[int, int]] = []
        # Slots that nobody finds any more and somebody still uses.
        self._orphans: set[int] = set()
        self.clock = 0
        self.nbytes = 0
        self.closed = False
        """Whether somebody was interrupted who was changing them: they are not to be trusted."""
        self.lost: deque[tuple[np.ndarray, np.ndarray]] = deque()
        """Slots and fates of what was never given back, and nobody knows of any more."""

    def find(
        self, taken: Taken, shelf: Hashable, units: Sequence[int], use: Caching
    ) -> tuple[list[int], list[Hashable]]:
        """Take what is there for certain; which of the others are to be asked about, and what they
        were like before."""
        self.look_after_lost()
        self.clock += 1
        found = self.shelves.get(shelf, _NOTHING)
        slots = np.array([found.get(unit, -1) for unit in units], np.int64)
        good = (slots >= 0) & (self.since[slots] >= use.since) & (self.phase[slots] == READY)
        held = slots[good]
        self.pins[held] += 1
        self.stamp[held] = self.clock
        taken.slots[good], taken.fates[good] = held, HELD
        taken.addresses[good] = self.address[held]
        unsure = np.flatnonzero(~good).tolist() if len(held) < len(units) else []
        return unsure, [self.states[slot] if slot >= 0 else None for slot in slots[unsure].tolist()]

    def enter(
        self,
        taken: Taken,
        shelf: Hashable,
        units: Mapping[int, int],
        states: Sequence[Hashable | None],
        nbytes: int,
        use: Caching,
    ) -> None:
        """Take chunks whose states are known; ``units``: by place in ``taken``, their numbers."""
        found = self.shelves.setdefault(shelf, {})
        kept = self._enter_kept(taken, found, units, states, use)
        for (i, unit), state in zip(units.items(), states, strict=True):
            if state is not None and i not in kept:
                slot, fate = self._look(found, (shelf, unit), nbytes, use, state)
                taken.slots[i], taken.fates[i] = slot, fate
                taken.addresses[i] = self.address[slot] if slot >= 0 else 0
        self.sweep()

    def _enter_kept(
        self,
        taken: Taken,
        found: dict[int, int],
        units: Mapping[int, int],
        states: Sequence[Hashable | None],
        use: Caching,
    ) -> Set[int]:
        """Take those that are there, as they were when they were last looked at, all at once; at
        which places of ``taken`` they are."""
        slots = [found.get(unit, -1) for unit in units.values()]
        mine = self.states
        known = [
            (i, slot)
            for i, slot, state in zip(units, slots, states, strict=True)
            if slot >= 0 and mine[slot] is state
        ]
        at, kept = np.array(known, np.int64).reshape(-1, 2).T
        ready = self.phase[kept] == READY
        if not ready.all():
            at, kept = at[ready], kept[ready]
        self.since[kept] = np.maximum(self.since[kept], use.since)
        self.pins[kept] += 1
        self.stamp[kept] = self.clock
        taken.slots[at], taken.fates[at] = kept, HELD
        taken.addresses[at] = self.address[kept]
        return frozenset(at.tolist())

    def settle(self, taken: Taken, mine: np.ndarray, filled: np.ndarray) -> None:
        """Chunks that are ``mine`` are there now, or have failed."""
        slots = taken.slots
        self.phase[slots[mine & filled]] = READY
        for slot in slots[mine & ~filled].tolist():
            self.phase[slot] = _FAILED
            self.forget(slot)
        self.unpin(slots[mine & ~filled])

    def wait_for(self, slots: np.ndarray, *, give_up: bool) -> bool:
        """Whether somebody still fills some of these; ``give_up``: no more, they are forgotten."""
        self.look_after_lost()
        filling = slots[self.phase[slots] == FILLING]
        if give_up:
            for slot in filling.tolist():
                self.forget(slot)
        return bool(len(filling)) and not give_up

    def look_after_lost(self) -> None:
        """Give back what nobody will."""
        while self.lost:
            slots, fates = self.lost.popleft()
            taken = Taken(slots, slots, fates)
            self.settle(taken, fates == MINE, np.zeros(len(slots), np.bool_))
            self.unpin(slots[(slots >= 0) & (fates != MINE)])

    def _look(
        self,
        found: dict[int, int],
        label: tuple[Hashable, int],
        nbytes: int,
        use: Caching,
        state: Hashable,
    ) -> tuple[int, int]:
        """Slot and fate of one chunk whose state is known."""
        slot = found.get(label[1], -1)
        if slot >= 0 and self.states[slot] != state:
            self.forget(slot)
            slot = -1
        if slot >= 0:
            fate = HELD if self.phase[slot] == READY else THEIRS
            self.since[slot] = max(self.since[slot], use.since)
        else:
            slot, fate = self._room(-(-nbytes // _ALIGN) * _ALIGN, use.nbytes), MINE
            if slot < 0:
                return -1, NO_ROOM
            found[label[1]] = slot
            self._labels[slot], self.states[slot] = label, state
            self.phase[slot], self.since[slot] = FILLING, use.since
        self.pins[slot] += 1
        self.stamp[slot] = self.clock
        return slot, fate

    def unpin(self, slots: np.ndarray) -> None:
        """Somebody uses these no longer."""
        self.pins[slots] -= 1
        if not self._orphans:
            return
        for slot in slots.tolist():
            if slot in self._orphans and not self.pins[slot]:
                self._orphans.remove(slot)
                self._retire(slot)

    def sweep(self) -> None:
        """Forget arrays of which nothing is kept, once there are many."""
        if len(self.shelves) > _MANY_SHELVES:
            self.shelves = {shelf: units for shelf, units in self.shelves.items() if units}

    def forget(self, slot: int) -> None:
        """Let nobody find a chunk any more; its slot is free once nobody uses it."""
        label = self._labels[slot]
        if label is None:
            return
        shelf, unit = label
        del self.shelves[shelf][unit]
        self._labels[slot] = self.states[slot] = None
        if self.pins[slot]:
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
            if not self.drop_one(None):
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
            elif not self.drop_one(room):
                return -1

    def drop_one(self, room: int | None) -> bool:
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
            self.forget(slot)
            return True
        for other in home.slots:
            if not self.pins[other]:
                self.forget(other)
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
                if self.stamp[slot] == stamp and not self.pins[slot] and self._labels[slot]:
                    return slot
            if not again:
                kept = np.array([label is not None for label in self._labels])
                slots = np.flatnonzero(kept & (self.pins == 0))
                order = slots[np.argsort(self.stamp[slots], kind="stable")]
                order = order[: max(_AT_ONCE, len(order) // 8)][::-1]
                self._oldest = list(zip(order.tolist(), self.stamp[order].tolist(), strict=True))
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
            self.address[slot] = slab.address + i * room
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
        rows = np.stack((self.address, self.stamp, self.pins, self.since, self.phase))
        rows = np.concatenate((rows, np.zeros_like(rows)), axis=1)
        self.address, self.stamp, self.pins, self.since, self.phase = rows
        self._homes += [None] * old
        self._labels += [None] * old
        self.states += [None] * old
        self._unused += range(old, 2 * old)

    def memory_of(self, slot: int) -> tuple[np.ndarray, int]:
        """The array of bytes that a slot is in, and where in it."""
        home = self._homes[slot]
        assert home is not None
        return home.memory, int(self.address[slot]) - address_of_words(home.memory)
