"""Byte strings of a row group that are read one by one, each from pages of its own.

Such a unit has nothing in it but where the pages are. What is read of it as a whole is decoded into
memory of the thread, used, and forgotten: keeping it would take fresh memory, which costs as much
as decoding again. Of what a part is wanted a second time, as of a block that planes are cut from,
is kept. Whatever ``parquet_direct`` does not do, pyarrow does, for all of the unit and once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.elements import elements_in
from lazytensor.io.ome_arrow.model import Unit
from lazytensor.io.ome_arrow.parquet_direct import Leaf, Strings, header_of, payload_of, strings_of
from lazytensor.io.ome_arrow.unit_cache import UnitCache
from lazytensor.io.scratch import Scratch, thread_scratch
from lazytensor.io.store import StoredObject
from lazytensor.io.stored import Stored
from lazytensor.plan.counters import count

__all__ = ["PageUnit", "Pages", "Paging"]

_AHEAD = 256
"""Bytes that a header is looked for in; those with statistics that are longer are pyarrow's."""

_LARGE = 1 << 10
"""Bytes that byte strings have on average that are taken apart in a loop."""

_DATA_PAGES = (0, 3)
_WORTH = 8 << 10
"""Bytes that pages have on average where looking at each header is worth while."""


class Pages(NamedTuple):
    """The pages of a leaf in a row group: bytes [start, stop) of a file. ``most``: bytes that they
    have when they are decompressed."""

    stored: Stored
    start: int
    stop: int
    leaf: Leaf
    most: int

    def bounds(self, values: int) -> list[int] | None:
        """Where the page of each value begins, and the last ends; None if that is not the form."""
        if values == 1:
            return [self.start, self.stop]
        if values * _WORTH > self.stop - self.start:
            return None
        found: list[list[int] | None] = []
        self.stored.using(lambda whole: found.append(self._walk(whole, values)))
        return found[-1]

    def _walk(self, whole: StoredObject, values: int) -> list[int] | None:
        bounds = [self.start]
        while bounds[-1] < self.stop and len(bounds) <= values:
            at = bounds[-1]
            head = header_of(whole.read(at, min(_AHEAD, self.stop - at)))
            if head is None or head.values != 1 or head.kind not in _DATA_PAGES:
                return None
            bounds.append(at + head.length + head.stored)
        return bounds if bounds[-1] == self.stop and len(bounds) == values + 1 else None

    def together(self, values: int, where: str, *, counted: bool) -> Unit | None:
        """All values, decoded now; None if something is unusual."""
        if values * _LARGE > self.most:
            return None
        found: list[list[Strings] | None] = []

        def work(whole: StoredObject) -> None:
            data = whole.read(self.start, self.stop - self.start, thread_scratch())
            found.append(strings_of(data, self.leaf, self.most, values))

        self.stored.using(work)
        if counted:
            count("bytes_read", self.stop - self.start)
        strings = found[-1]
        return None if strings is None else elements_in(strings, where)


class Paging:
    """What is known of a unit of byte strings in pages, and kept: it leads to no cache and no file
    that is open, so that nothing keeps itself alive.

    ``bounds``: where the pages of each begin in the file, and the last end. ``sound``: whether the
    file says that none is null. ``counted``: as in ``arrow_files.ArrowFile``.
    """

    def __init__(
        self,
        pages: Pages,
        bounds: Sequence[int],
        *,
        key: Hashable,
        where: str,
        sound: Callable[[], bool],
        counted: bool,
    ) -> None:
        self.pages, self.bounds = pages, bounds
        self.key, self.where = key, where
        self.sound, self.counted = sound, counted
        self.seen = bytearray(len(self))
        self.unusual = False

    @property
    def nbytes(self) -> int:
        """Bytes that keeping it takes."""
        return 1000 + 40 * len(self.bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def element(self, number: int, scratch: Scratch | None) -> np.ndarray:
        """Only a ``PageUnit`` has them."""
        raise TypeError("what is known of pages has no pixels")

    def nulls(self, number: int) -> np.ndarray | None:
        """None: these are bytes."""
        return None

    def kept_in(self, cache: UnitCache) -> bool:
        """Whether none of it would be read again."""
        if cache.kept((self.key, None)):
            return True
        return all(cache.kept((self.key, number)) for number in range(len(self)))


class PageUnit:
    """Byte strings in pages; see ``model.Unit``.

    ``cache``: where what is wanted again is kept. ``otherwise``: reads them all.
    """

    __slots__ = ("_cache", "_known", "_otherwise")

    def __init__(self, known: Paging, cache: UnitCache, otherwise: Callable[[], Unit]) -> None:
        self._known, self._cache, self._otherwise = known, cache, otherwise

    @property
    def nbytes(self) -> int:
        """Bytes that keeping it takes."""
        return self._known.nbytes

    def __len__(self) -> int:
        return len(self._known)

    def element(self, number: int, scratch: Scratch | None) -> np.ndarray:
        """The bytes of one, valid until something else is taken of ``scratch``."""
        if not 0 <= number < len(self):
            raise FormatError(f"{self._known.where}: there is no piece {number} of {len(self)}")
        kept = self._cache.found((self._known.key, number))
        if kept is not None:
            return kept.element(number, scratch)  # type: ignore[arg-type]
        scratch = scratch or thread_scratch()
        found = None if self._known.unusual else self._read(number, scratch)
        if found is None:
            self._known.unusual = True
            return self._other().element(number, scratch)
        return found

    def partly(self, number: int, scratch: Scratch) -> np.ndarray:
        """The same where a part of it will do."""
        if not 0 <= number < len(self) or not self._known.seen[number]:
            found = self.element(number, scratch)
            self._known.seen[number] = 1
            return found

        def keep() -> Unit:
            return _Kept(self.element(number, scratch).copy())

        if self._known.unusual:
            return self.element(number, scratch)
        return self._cache.get((self._known.key, number), keep).element(number, scratch)

    def nulls(self, number: int) -> np.ndarray | None:
        """None: these are bytes."""
        return None

    def is_null(self, number: int) -> bool:
        """Whether one is null."""
        if not self._known.unusual and self._known.sound():
            return False
        asked: Any = self._other()
        return bool(asked.is_null(number))

    def _other(self) -> Unit:
        """All of it, as pyarrow reads it."""
        return self._cache.get((self._known.key, None), self._otherwise)

    def _read(self, number: int, scratch: Scratch) -> np.ndarray | None:
        known, pages = self._known, self._known.pages
        start, stop = known.bounds[number : number + 2]
        found: list[memoryview | None] = [None]

        def work(whole: StoredObject) -> None:
            data = whole.read(start, stop - start, scratch)
            found[:] = [payload_of(data, pages.leaf, pages.most, number == 0, scratch)]

        pages.stored.using(work)
        if known.counted:
            count("bytes_read", stop - start)
        if found[0] is None:
            return None
        values = np.frombuffer(found[0], np.uint8)
        values.flags.writeable = False
        return values


class _Kept:
    """One of them, in memory of its own."""

    __slots__ = ("_values",)

    def __init__(self, values: np.ndarray) -> None:
        values.flags.writeable = False
        self._values = values

    @property
    def nbytes(self) -> int:
        return self._values.nbytes + 200

    def __len__(self) -> int:
        return 1

    def element(self, number: int, scratch: Scratch | None) -> np.ndarray:
        return self._values

    def nulls(self, number: int) -> np.ndarray | None:
        return None
