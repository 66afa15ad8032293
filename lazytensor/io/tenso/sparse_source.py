"""Sparse matrices in packets, of which boxes are made dense.

A matrix may have 2^64 places and three elements. What is stored is read once, with the first box,
and kept by the source, by rows; its indices are checked before they are followed. The elements of a
box are a stretch of what is kept, and the rest of the box is zero. Elements in one place add up, as
in scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lazytensor.io.store import StoredObject
from lazytensor.io.stored import Stored
from lazytensor.io.tenso.decode import decode_body
from lazytensor.io.tenso.in_packet import InPacket, Place
from lazytensor.io.tenso.outline import Sparse
from lazytensor.io.tenso.sparse import check_indices
from lazytensor.plan.counters import count
from lazytensor.plan.one_at_a_time import OneAtATime
from lazytensor.plan.source import Box, Fetched, Read, Storage, UnitSize
from lazytensor.plan.spec import make_spec

__all__ = ["SparseSource"]

_PER_ELEMENT = 24
"""Bytes of working memory for an element: which it is, and where it goes."""


class _Elements(NamedTuple):
    """Elements by row. ``columns``: of each of them; ``cuts``: where each row begins, else
    ``rows``: of each of them, ascending."""

    values: np.ndarray
    columns: np.ndarray
    cuts: np.ndarray | None
    rows: np.ndarray | None

    def between(self, lo: int, hi: int) -> tuple[int, int]:
        """The elements of the rows [lo, hi)."""
        if self.cuts is not None:
            return int(self.cuts[lo]), int(self.cuts[hi])
        return self._first(lo), self._first(hi)

    def _first(self, row: int) -> int:
        """The first element of a row, or of those behind it."""
        assert self.rows is not None
        dtype = self.rows.dtype
        if row > np.iinfo(dtype).max:
            return len(self.rows)
        # A number of another dtype would make a copy of all rows.
        return int(np.searchsorted(self.rows, dtype.type(row)))

    def rows_of(self, first: int, last: int, lo: int, hi: int) -> np.ndarray:
        """The row of each of some elements, counted from ``lo``."""
        if self.cuts is not None:
            counts = np.diff(self.cuts[lo : hi + 1]).astype(np.intp)
            return np.repeat(np.arange(hi - lo), counts)
        assert self.rows is not None
        return self.rows[first:last].astype(np.int64) - lo


class SparseSource(InPacket):
    """One sparse matrix. ``make(stored, place, packet)`` makes it anew."""

    array: np.ndarray | None = None
    _packet: Sparse

    def __init__(
        self,
        stored: Stored,
        place: Place,
        packet: Sparse,
        facts: Mapping[str, Any],
        make: Callable[..., Any],
    ) -> None:
        dtype = packet.parts["data"].dtype.newbyteorder("=")
        super().__init__(make_spec(packet.shape, dtype), stored, place, packet, facts, make)
        self._turns = OneAtATime()
        self._elements: _Elements | None = None

    @property
    def remote(self) -> bool:
        """Whether the first read is a round trip over a network."""
        return self._stored.remote

    @property
    def storage(self) -> Storage:
        """How the matrix is stored."""
        parts = self._packet.parts.values()
        codecs = [{"name": self._packet.kind}]
        codecs += [{"name": "lz4"}] * any(part.frame is not None for part in parts)
        return self._storage(self.spec.shape, tuple(codecs), self._nbytes, self.spec.dtype.type(0))

    @property
    def _nbytes(self) -> int:
        return sum(part.stop - part.body[0] for part in self._packet.parts.values())

    def _found(self) -> _Elements:
        """The elements, read and checked once."""
        found = self._elements
        if found is None:
            with self._turns:
                if self._elements is None:
                    self._stored.using(self._read)
                found = self._elements
        assert found is not None
        return found

    def _read(self, whole: StoredObject) -> None:
        packet, parts = self._packet, {}
        verify = self._place.verify != "never"
        for name, part in packet.parts.items():
            start = part.body[0]
            data = whole.read(start, part.stop - start)
            count("bytes_read", part.stop - start)
            where = f"{self.label}, {name}"
            parts[name] = decode_body(part, data, verify=verify, where=where)
        check_indices(packet.kind, packet.shape, parts, self.label)
        self._elements = _by_rows(packet.kind, parts)
        count("units_read")

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Fill ``out`` with the box.

        Raises ``FormatError`` for indices outside of the matrix, ``SourceError`` and its children.
        """
        self.read_strided(box, (1,) * len(box), out)

    def read_strided(self, box: Box, steps: Sequence[int], out: np.ndarray) -> None:
        """Fill ``out`` with every ``steps[d]``-th element of a box; errors as ``read_into``."""
        if not out.size:
            return
        (lo, hi), (left, right) = box
        found = self._found()
        first, last = found.between(lo, hi)
        columns = found.columns[first:last]
        rows = found.rows_of(first, last, lo, hi)
        inside = (columns >= left) & (columns < right)
        if steps[0] != 1:
            inside &= rows % steps[0] == 0
        if steps[1] != 1:
            inside &= (columns.astype(np.int64) - left) % steps[1] == 0
        picked = np.flatnonzero(inside)
        row = rows[picked] // steps[0]
        column = (columns[picked].astype(np.int64) - left) // steps[1]
        out[...] = 0
        _add(out, row, column, found.values[first:last][picked])
        count("bytes_decoded", out.nbytes)

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """The packet is one unit."""
        return UnitSize(len(cells), self._unread, 0)

    @property
    def _unread(self) -> int:
        return 0 if self._elements is not None else self._nbytes

    def reading_nbytes(self, nbytes: int) -> int:
        """What is kept of the packet, what sorting it takes, and the places of its elements."""
        elements = prod(self._packet.parts["data"].shape)
        kept = sum(part.nbytes for part in self._packet.parts.values())
        return 2 * kept + 2 * _PER_ELEMENT * elements

    def fetched(self, reads: Sequence[Read]) -> Fetched:
        """All that is stored, unless it was read before."""
        wanted = [box for box, _ in reads if all(lo < hi for lo, hi in box)]
        decoded = sum(prod(hi - lo for lo, hi in box) for box in wanted)
        if not wanted:
            return Fetched(0, 0, 0)
        return Fetched(self._unread, 1, decoded * self.spec.dtype.itemsize)


def _by_rows(kind: str, parts: Mapping[str, np.ndarray]) -> _Elements:
    if kind == "csr":
        return _Elements(parts["data"], parts["indices"], parts["indptr"], None)
    if kind == "coo":
        values, rows, columns = parts["data"], parts["row"], parts["col"]
    else:
        values, rows, cuts = parts["data"], parts["indices"], parts["indptr"]
        columns = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts).astype(np.intp))
    if (rows[1:] < rows[:-1]).any():
        # Elements in one place keep their order, so that they add up to the same.
        order = np.argsort(rows, kind="stable")
        values, rows, columns = values[order], rows[order], columns[order]
    return _Elements(values, columns, None, rows)


def _add(out: np.ndarray, row: np.ndarray, column: np.ndarray, values: np.ndarray) -> None:
    """Add values to zeros, several in one place one after the other."""
    if out.flags.c_contiguous:
        np.add.at(out.reshape(-1), row * out.shape[1] + column, values)
    else:
        np.add.at(out, (row, column), values)
