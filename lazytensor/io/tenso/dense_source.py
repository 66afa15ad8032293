"""Arrays in packets, read by boxes.

A source is the same for all kinds of packets that hold one array: it knows its file, its shape and
when to check. How values lie in the file is the business of its *body*: as they are (here), two in
a byte (``quantized_source``), in compressed blocks (``frame_source``).

The format has no chunks. So that plans are cut into tasks, an array has virtual ones: rows of some
megabytes, which are one range of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from lazytensor.io.runs import PIECE, Piece, gap_of, held_nbytes, pieces_of, read_pieces
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store import StoredObject
from lazytensor.io.stored import Stored
from lazytensor.io.tenso.checking import Check, Session
from lazytensor.io.tenso.in_packet import InPacket, Place
from lazytensor.io.tenso.sharing import share_pieces
from lazytensor.plan.counters import count
from lazytensor.plan.source import Box, Fetched, Read, Reading, Storage, UnitSize
from lazytensor.plan.spec import make_spec

__all__ = ["ArrayBody", "Body", "PacketSource", "RunsBody", "cells_of", "range_of"]

CELL = 4 << 20
"""Bytes of a virtual chunk, about: two of them are a task."""


class Body(Protocol):
    """How the values of an array lie in a file.

    ``start``, ``stop``: bytes of the file that hold them. ``cell``: bytes of values in a virtual
    chunk, about; ``align``: which its borders had better be multiples of.
    """

    start: int
    stop: int
    dtype: np.dtype
    cell: int
    align: int
    codecs: tuple[Any, ...]

    def read(
        self,
        whole: StoredObject,
        box: Box,
        steps: Sequence[int],
        out: np.ndarray,
        session: Session | None,
    ) -> None:
        """Fill ``out``, which is not empty; show ``session`` the stored bytes."""
        ...

    def share(
        self,
        stored: Stored,
        box: Box,
        steps: Sequence[int],
        out: np.ndarray,
        session: Session | None,
    ) -> Reading | None:
        """The same by several threads, None where they cannot share it."""
        ...

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """Whether they can, as far as one knows beforehand."""
        ...

    def fetched(self, reads: Iterable[Read]) -> Fetched:
        """What that takes."""
        ...

    def nbytes_between(self, lo: int, hi: int) -> int:
        """Stored bytes that hold the elements [lo, hi), in C order."""
        ...

    def beside(self, nbytes: int) -> int:
        """Bytes that are held while so many bytes of values are read."""
        ...


def cells_of(shape: Sequence[int], itemsize: int, cell: int, align: int = 1) -> tuple[int, ...]:
    """Virtual chunks of about ``cell`` bytes that are ranges of an array in C order.

    Their borders are multiples of ``align`` bytes where rows allow that.

    >>> cells_of((1000, 1000), 4, 1 << 20), cells_of((4, 1000, 1000), 4, 1 << 20)
    ((262, 1000), (1, 262, 1000))
    >>> cells_of((1000, 1024), 4, 1 << 20, 1 << 16), cells_of((), 4, 8)
    ((256, 1024), ())
    """
    cells = [max(1, n) for n in shape]
    inner = itemsize * prod(cells)
    for d, n in enumerate(shape):
        if inner <= cell:
            break
        inner //= max(1, n)
        rows = max(1, cell // inner)
        if inner < align and align % inner == 0 and rows >= align // inner:
            rows -= rows % (align // inner)
        cells[d] = min(max(1, n), rows)
        if rows > 1:
            break
    return tuple(cells)


def range_of(shape: Sequence[int], box: Box, steps: Sequence[int]) -> tuple[int, int] | None:
    """The elements [lo, hi), in C order, that a box is; None if they are no range.

    >>> range_of((4, 6), ((1, 3), (0, 6)), (1, 1)), range_of((4, 6), ((1, 3), (0, 5)), (1, 1))
    ((6, 18), None)
    """
    first, size, inner, is_whole = 0, 1, 1, True
    for n, (lo, hi), step in zip(reversed(shape), reversed(box), reversed(steps), strict=True):
        if hi - lo > 1 and (step != 1 or not is_whole):
            return None
        first += lo * inner
        size *= hi - lo
        is_whole = is_whole and hi - lo == n
        inner *= n
    return first, first + size


class RunsBody:
    """Values in C order from ``start`` on that are read as runs of stored elements.

    ``dtype``: of the values; ``_item``: what a piece counts elements in. How bytes become values is
    the business of those who derive from it.
    """

    codecs: tuple[Any, ...] = ()
    __slots__ = ("_gap", "_item", "_remote", "_shape", "dtype", "start", "stop")

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype, start: int, nbytes: int, stored: Stored
    ) -> None:
        self._shape = shape
        self._item = dtype.itemsize
        self._gap = gap_of(stored.store)
        self._remote = stored.remote
        self.dtype = dtype
        self.start = start
        self.stop = start + nbytes

    def _pieces(self, box: Box, steps: Sequence[int], most: int = PIECE) -> list[Piece]:
        return list(pieces_of(self._shape, self._item, box, steps, gap=self._gap, most=most))

    def _span(self, piece: Piece) -> tuple[int, int]:
        """The stored bytes of a piece."""
        first = self.start + piece.start
        return first, first + piece.nbytes

    def _read(
        self, whole: StoredObject, pieces: Sequence[Piece], out: np.ndarray, session: Session | None
    ) -> None:
        """Fill the places of the pieces."""
        raise TypeError(f"{type(self).__name__} does not say how its values are stored")

    def read(
        self,
        whole: StoredObject,
        box: Box,
        steps: Sequence[int],
        out: np.ndarray,
        session: Session | None,
    ) -> None:
        """Fill ``out`` with every ``steps[d]``-th element of a box."""
        self._read(whole, self._pieces(box, steps), out, session)

    def share(
        self,
        stored: Stored,
        box: Box,
        steps: Sequence[int],
        out: np.ndarray,
        session: Session | None,
    ) -> Reading | None:
        """Each thread takes the next piece."""
        pieces = self._pieces(box, steps, PIECE // 4)

        def work(whole: StoredObject, number: int) -> None:
            self._read(whole, pieces[number : number + 1], out, session)

        return share_pieces(stored, len(pieces), work)

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """They always can."""
        return True

    def fetched(self, reads: Iterable[Read]) -> Fetched:
        """The pieces, with the gaps in them."""
        nbytes = elements = 0
        for box, steps in reads:
            spans = [self._span(piece) for piece in self._pieces(box, steps)]
            nbytes += sum(stop - start for start, stop in spans)
            elements += prod([-(-(hi - lo) // by) for (lo, hi), by in zip(box, steps, strict=True)])
        return Fetched(nbytes, 1, elements * self.dtype.itemsize)


class ArrayBody(RunsBody):
    """Values as they are."""

    align = 1
    cell = CELL
    __slots__ = ()

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, start: int, stored: Stored) -> None:
        super().__init__(shape, dtype, start, prod(shape) * dtype.itemsize, stored)

    def _read(
        self, whole: StoredObject, pieces: Sequence[Piece], out: np.ndarray, session: Session | None
    ) -> None:
        for start, data in read_pieces(
            whole, self.start, pieces, self.dtype, out, thread_scratch(), far=self._remote
        ):
            if session is not None:
                session.take(whole, start, data)
        for piece in pieces:
            values = out[(*piece.place, ...)]
            count("bytes_decoded", values.nbytes)
            if self.dtype == np.bool_:
                # Every byte that is not 0 is true: of others NumPy's loops make neither.
                np.not_equal(values.view(np.uint8), 0, out=values)

    def nbytes_between(self, lo: int, hi: int) -> int:
        """As many as there are."""
        return (hi - lo) * self.dtype.itemsize

    def beside(self, nbytes: int) -> int:
        """One piece, which may have gaps in it; over a network, what is fetched ahead."""
        return held_nbytes(self.stop - self.start, far=self._remote)


class PacketSource(InPacket):
    """One array in a packet.

    ``body``: its values; ``check``: its checksum, if it has one and is to be checked. ``facts``:
    what ``storage`` says of it. ``make(stored, place, packet)`` makes it anew.
    """

    def __init__(
        self,
        stored: Stored,
        place: Place,
        shape: tuple[int, ...],
        body: Body,
        check: Check | None,
        packet: Any,
        facts: Mapping[str, Any],
        make: Callable[..., Any],
    ) -> None:
        native = body.dtype.newbyteorder("=")
        self._cells = cells_of(shape, native.itemsize, body.cell, body.align)
        super().__init__(
            make_spec(shape, native, chunks=self._cells), stored, place, packet, facts, make
        )
        self._body = body
        self._check = check
        self.array: np.ndarray | None = self._view()

    def _view(self) -> np.ndarray | None:
        """The values where they are, if they are in memory as NumPy wants them.

        What is to be checked has to be read: nobody says when values are looked at that are there.
        """
        body = self._body
        is_plain = isinstance(body, ArrayBody) and body.dtype.isnative and body.dtype != np.bool_
        data = self._stored.buffer() if is_plain and self._check is None else None
        if data is None:
            return None
        return np.ndarray(self.spec.shape, self.spec.dtype, data, body.start)

    @property
    def remote(self) -> bool:
        """Whether every read is a round trip over a network."""
        return self._stored.remote and self.array is None

    @property
    def storage(self) -> Storage:
        """How the packet is stored."""
        return self._storage(self._cells, self._body.codecs, self._body.stop - self._body.start)

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Fill ``out`` with the box.

        Raises ``SourceError`` and its children (``FormatError``, ``ChecksumError``,
        ``SourceChangedError``), naming file and key.
        """
        self.read_strided(box, (1,) * len(box), out)

    def read_strided(self, box: Box, steps: Sequence[int], out: np.ndarray) -> None:
        """Fill ``out`` with every ``steps[d]``-th element of a box; errors as ``read_into``."""
        if not out.size:
            return
        if self.array is not None:
            part = [slice(lo, hi, step) for (lo, hi), step in zip(box, steps, strict=True)]
            out[...] = self.array[tuple(part)]
            return
        session = self._session(box, steps)

        def read(whole: StoredObject) -> None:
            if self._check is not None and self._place.verify == "always":
                self._check.ensure(whole)
            self._body.read(whole, box, steps, out, session)

        self._stored.using(read)
        count("units_read")

    def _session(self, box: Box, steps: Sequence[int]) -> Session | None:
        """What is to see the stored bytes of a read: it has to consist of whole cells, as all do of
        a run that reads everything."""
        if self._check is None or self._place.verify != "whole":
            return None
        for (lo, hi), n, cell in zip(box, self.spec.shape, self._cells, strict=True):
            if lo % cell or (hi % cell and hi != n):
                return None
        return self._check.session() if range_of(self.spec.shape, box, steps) else None

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """Whether several threads may read: not where they would wait for a network."""
        return not self._stored.remote and self.array is None and self._body.shares(box, steps)

    def shared_read(self, box: Box, steps: Sequence[int], out: np.ndarray) -> Reading | None:
        """A ``read_strided`` that several threads may work on, or None."""
        if not self.shares(box, steps) or not out.size:
            return None
        if self._check is not None and self._place.verify == "always":
            self._stored.using(self._check.ensure)
        return self._body.share(self._stored, box, steps, out, self._session(box, steps))

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """What lies in the file of virtual chunks."""
        total = 0
        for cell in cells:
            lo = [c * n for c, n in zip(cell, self._cells, strict=True)]
            hi = [
                min(a + n, size)
                for a, n, size in zip(lo, self._cells, self.spec.shape, strict=True)
            ]
            box = tuple(zip(lo, hi, strict=True))
            found = range_of(self.spec.shape, box, (1,) * len(box))
            assert found is not None, "virtual chunks are ranges"
            total += self._body.nbytes_between(*found)
        return UnitSize(len(cells), total, 0)

    def reading_nbytes(self, nbytes: int) -> int:
        """Bytes that a thread holds beside the values."""
        if self.array is not None:
            return 0
        # What is hashed again, and over a network, what is held to be hashed.
        checked = PIECE + nbytes * self._stored.remote if self._check is not None else 0
        return self._body.beside(nbytes) + checked

    def fetched(self, reads: Sequence[Read]) -> Fetched:
        """What carrying out ``reads`` will take, and what checking it will."""
        wanted = [read for read in reads if all(lo < hi for lo, hi in read[0])]
        if self.array is not None or not wanted:
            return Fetched(0, 0, 0)
        found = self._body.fetched(wanted)
        return found._replace(stored_bytes=found.stored_bytes + self._checked_nbytes(wanted))

    def _checked_nbytes(self, reads: Sequence[Read]) -> int:
        """Bytes that are read for the checksum alone."""
        if self._check is None or self._place.verify == "never":
            return 0
        if self._place.verify == "always":
            return 0 if self._check.is_done else self._check.nbytes
        whole, at = self.spec.size, 0
        begun = False
        for found in sorted(
            filter(None, (range_of(self.spec.shape, *r) for r in reads if self._session(*r)))
        ):
            begun = begun or found[0] == 0
            at = max(at, found[1]) if found[0] <= at else at
        start, stop = self._check.before
        return self._check.beside if at == whole else (stop - start if begun else 0)
