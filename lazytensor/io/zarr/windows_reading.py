"""Filling windows chunk by chunk, in any number of threads.

As the readings of ``reading``: worked on by each thread, the first of which finds out what is to be
done, and ended by one of them, which reads the plain way what compiled code left alone, and takes
what others decoded meanwhile. Until then nothing is held: a reading that an exception loses before
somebody sees to its end (Ctrl-C may strike anywhere) loses nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Sequence
from math import prod

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.chunk_cache import HELD, MINE, NO_ROOM, THEIRS, ChunkCache, Taken
from lazytensor.io.codec.compiled import NOT_THERE, Recipe, Units
from lazytensor.io.codec.compiled_windows import WindowCells, WindowUnits
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store import StoredObject
from lazytensor.io.windows import WindowPieces
from lazytensor.io.zarr.shard_index import ABSENT
from lazytensor.io.zarr.windows_chunks import Chunks
from lazytensor.native import Kernel
from lazytensor.native.addresses import address_of_bytes
from lazytensor.native.kernels import chunk_block as block
from lazytensor.plan.caching import Caching
from lazytensor.plan.counters import count
from lazytensor.plan.source import window

__all__ = ["WindowsReading"]

_MOST_OPEN = 64
"""Files that are open at once; systems allow some hundreds."""

_SURPLUS = 2
"""How many times the chunks that are wanted may be read, to read them all at once."""


class WindowsReading:
    """Windows being filled.

    ``shelf``, ``cache``, ``use``: where the cache has the pieces' units, and how it may be used;
    None without one. ``run``: the compiled code, if there is any. ``outs``: the windows.
    """

    def __init__(
        self,
        chunks: Chunks,
        pieces: WindowPieces,
        shelf: Hashable,
        cache: ChunkCache | None,
        use: Caching | None,
        run: Kernel | None,
        outs: Sequence[np.ndarray] | np.ndarray,
    ) -> None:
        self._chunks = chunks
        self._pieces = pieces
        self._shelf = shelf
        self._taken = Taken.nothing(len(pieces.units))
        self._cache = cache
        self._use = use
        self._run = run
        self._outs = outs
        self._filled = np.zeros(len(pieces.units), np.bool_)
        self._all_held = False
        self._begun = False
        # What compiled code does, and of which units; and the units that are left for Python.
        self._compiled: tuple[WindowCells, Units, np.ndarray] | None = None
        self._todo: list[list[int]] = []
        self._lock = threading.Lock()
        self._shards: dict[str, StoredObject | None] = {}

    def _begin(self) -> None:
        """Find out where everything is; shards are opened."""
        chunks, cache, use = self._chunks, self._cache, self._use
        if cache is not None and use is not None:
            cache.take(
                self._shelf, self._pieces.units.tolist(), chunks.nbytes, use,
                lambda some, before: chunks.states(some, before, use), self._taken,
            )  # fmt: skip
        fates = self._taken.fates
        self._filled[:] = fates == HELD
        held = np.flatnonzero(fates == HELD)
        others = np.flatnonzero((fates != HELD) & (fates != THEIRS))
        self._all_held = len(held) == len(fates)
        if self._cache is not None:
            count("cache_hits", len(held))
            count("cache_misses", len(others))
        if self._run is None:
            self._todo = [*self._grouped(others), *[[unit] for unit in held.tolist()]]
        elif self._chunks.recipe is None or not self._decode(others):
            self._shards = {key: whole for key, whole in self._shards.items() if whole is not None}
            self._todo = self._grouped(others)
            self._compiled = self._copying(held)

    def _decode(self, others: np.ndarray) -> bool:
        """Let one compiled call do everything; False where that cannot be."""
        chunks, taken = self._chunks, self._taken
        assert chunks.recipe is not None
        if self._all_held:
            self._compiled = self._copying(np.arange(len(taken.fates)))
            return True
        chosen = np.flatnonzero(taken.fates != THEIRS)
        addresses, sizes = np.zeros((2, len(chosen)), np.int64)
        slots, ready = taken.addresses[chosen], (taken.fates[chosen] == HELD).astype(np.int64)
        units = WindowUnits(chosen, block.IN_MEMORY, addresses, sizes, slots, ready)
        at, numbers = np.searchsorted(chosen, others), self._pieces.units[others].tolist()
        if chunks.shards is None:
            names = [os.fsencode(chunks.path(number)) + b"\0" for number in numbers]
            text = b"".join(names)
            addresses[at] = np.cumsum([address_of_bytes(text), *map(len, names[:-1])])
            room = chunks.nbytes + chunks.nbytes // 8 + 4096
            units = units._replace(origin=block.IN_FILES, longest=room, keep=text)
        else:
            table = self._in_shards(numbers)
            if table is None:
                return False
            files = np.full(len(chosen), -1)
            files[at], addresses[at], sizes[at] = table
            longest = int(sizes.max(initial=1))
            units = units._replace(origin=block.IN_RANGES, longest=longest, files=files)
        self._compiled = self._placed(chunks.recipe, units)
        return True

    def _in_shards(self, numbers: Sequence[int]) -> np.ndarray | None:
        """Descriptor, offset and size of inner chunks, ``(3, n)``; size -1: not stored.

        None where too many shards are needed, and for an index that is not sound.
        """
        chunks = self._chunks
        layout, store = chunks.shards, chunks.store
        assert layout is not None
        table = np.full((3, len(numbers)), -1, np.int64)
        indices: dict[str, np.ndarray] = {}
        for i, number in enumerate(numbers):
            key = chunks.key(number)
            if key not in self._shards:
                if len(self._shards) == _MOST_OPEN:
                    return None
                whole = self._shards[key] = store.open(key)
                if whole is not None:
                    name = (store.identity, key)
                    try:
                        indices[key] = layout.index.read(whole, name, thread_scratch())
                    except FormatError as error:
                        raise chunks.reader.named(key, error) from error
            whole = self._shards[key]
            if whole is None:
                continue
            entry = indices[key][chunks.inside(number)]
            if (entry == ABSENT).all():
                continue
            if not layout.sound(entry[:1], entry[1:], whole.size).all():
                return None
            table[:, i] = whole.descriptor, int(entry[0]), int(entry[1])
        return table

    def _copying(self, chosen: np.ndarray) -> tuple[WindowCells, Units, np.ndarray]:
        """Copying from chunks that are kept, in compiled code."""
        none = np.zeros(len(chosen), np.int64)
        slots = self._taken.addresses[chosen]
        units = WindowUnits(chosen, block.IN_MEMORY, none, none, slots, none + 1)
        return self._placed(self._chunks.kept, units)

    def _placed(self, recipe: Recipe, units: WindowUnits) -> tuple[WindowCells, Units, np.ndarray]:
        chunks, pieces = self._chunks, self._pieces
        assert self._run is not None
        cells = chunks.cells(self._run, recipe, pieces.windows.steps, self._outs[0].strides)
        return cells, units.placed(pieces, chunks.axes), units.chosen

    def work(self) -> None:
        """Fill from chunks until none is left. For any number of threads at once."""
        with self._lock:
            if not self._begun:
                self._begun = True
                self._begin()
        if self._compiled is not None:
            cells, units, _ = self._compiled
            cells.decode(units, thread_scratch())
        while True:
            with self._lock:
                if not self._todo:
                    return
                group = self._todo.pop()
            if len(group) > 1:
                self._load_together(group)
            for unit in group:
                self._fill_from(unit)

    def _grouped(self, units: np.ndarray) -> list[list[int]]:
        """Units that are read at once: each alone, or what a window wants of a remote store."""
        if not self._chunks.store.remote or self._cache is None:
            return [[unit] for unit in units.tolist()]
        groups: dict[int, list[int]] = {}
        for unit in units.tolist():
            groups.setdefault(int(self._pieces.window[self._pieces.first[unit]]), []).append(unit)
        return list(groups.values())

    def _load_together(self, units: Sequence[int]) -> None:
        """Read chunks into their slots with one read of the box around them, if that is not much
        more; what has no slot is left for later."""
        chunks = self._chunks
        units = [unit for unit in units if self._taken.fates[unit] == MINE]
        boxes = [chunks.box(number) for number in self._pieces.units[units].tolist()]
        hull = tuple(
            [
                (min(lo for lo, _ in dim), max(hi for _, hi in dim))
                for dim in zip(*boxes, strict=True)
            ]
        )
        shape = [hi - lo for lo, hi in hull]
        if len(units) < 2 or prod(shape) * chunks.item > _SURPLUS * len(units) * chunks.nbytes:
            return
        values = np.empty(shape, chunks.meta.dtype)
        chunks.reader.read_strided(hull, (1,) * len(hull), values)
        for unit, box in zip(units, boxes, strict=True):
            part = [
                slice(lo - first, hi - first)
                for (lo, hi), (first, _) in zip(box, hull, strict=True)
            ]
            place = window(self._kept(unit), [slice(0, hi - lo) for lo, hi in box])
            place[...] = window(values, part)
            self._filled[unit] = True

    def _kept(self, unit: int) -> np.ndarray:
        """The values of a chunk that has a slot."""
        assert self._cache is not None
        return self._chunks.view(*self._cache.memory_of(self._taken, unit))

    def _fill_from(self, unit: int) -> None:
        """Fill from one chunk in Python, after reading it the plain way unless it is kept."""
        chunks, fate = self._chunks, self._taken.fates[unit]
        if fate == NO_ROOM:
            values = chunks.view(np.empty(chunks.nbytes, np.uint8), 0)
        else:
            values = self._kept(unit)
        if not self._filled[unit]:
            chunks.load(int(self._pieces.units[unit]), values)
            self._filled[unit] = True
        for at, where, spot in self._pieces.of(unit):
            window(self._outs[at], spot)[...] = window(values, where)

    def end(self) -> None:
        """Publish, count, read again what was left alone, and take what others decoded."""
        if self._all_held:
            return
        odd = self._count_compiled() if self._compiled is not None else []
        taken, cache = self._taken, self._cache
        if cache is not None:
            cache.publish(taken, self._filled)
        for unit, missing in odd:
            if missing:
                self._chunks.reader.miss(self._chunks.key(int(self._pieces.units[unit])))
            else:
                self._fill_from(unit)
        for key, whole in self._shards.items():
            if whole is None:
                self._chunks.reader.miss(key)
        if cache is None:
            return
        theirs = np.flatnonzero(taken.fates == THEIRS)
        if not len(theirs):
            return
        cache.await_others(taken)
        self._filled[theirs] = good = taken.fates[theirs] == HELD
        count("cache_hits", int(good.sum()))
        count("cache_misses", int((~good).sum()))
        todo = theirs[~good]
        if self._run is None:
            todo = theirs
        elif good.any():
            cells, units, _ = self._copying(theirs[good])
            cells.decode(units, thread_scratch())
        for unit in todo.tolist():
            self._fill_from(unit)

    def _count_compiled(self) -> list[tuple[int, bool]]:
        """Count what compiled code read and decoded; what it did not do, and whether that is not
        stored."""
        assert self._compiled is not None
        _, units, chosen = self._compiled
        fates = self._taken.fates[chosen]
        done = (units.status == 0) & (fates != HELD) & (units.sizes >= 0)
        self._filled[chosen[done]] = True
        read = units.sizes if self._shards else units.read
        number = int(done.sum())
        if number:
            count("bytes_read", int(read[done].sum()))
            count("units_read", number)
            count("bytes_decoded", number * self._chunks.nbytes)
        odd = units.odd()
        return [(int(chosen[at]), int(units.status[at]) == NOT_THERE) for at in odd]

    def close(self) -> None:
        """Give back what it holds; chunks that were not filled have failed."""
        if self._cache is not None:
            self._cache.give_back(self._taken)
        for whole in self._shards.values():
            if whole is not None:
                whole.close()
        self._shards = {}
