"""The pages of one large row on their way into a file, in the order of the pixels."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytensor.io.ome_arrow.parquet_growing import GrowingParquet, RowGroup
from lazytensor.io.ome_arrow.parquet_pages import (
    Page,
    byte_pages,
    codec,
    column_chunk,
    dictionary_page,
    number_pages,
)
from lazytensor.io.staging import read_at, write_all
from lazytensor.io.store import Buffer

__all__ = ["RowPages"]

_PIECE = 8 << 20


class RowPages:
    """The pages of a column of one row.

    ``group``: the row, encoded without them. ``order``: of the row. ``count``: how many pieces it
    has. ``dictionary``: how many numbers there are; 0 for bytes. ``alone``: whether this is the
    only row, whose pages go into the file at once; those of others lie in a file without a name, in
    ``folder``, until all are there. ``kept``: bytes that may wait in memory.
    """

    def __init__(
        self,
        growing: GrowingParquet,
        group: RowGroup,
        order: int,
        *,
        count: int,
        dictionary: int,
        compression: str | None,
        chunk_compression: str | None,
        alone: bool,
        folder: str,
        kept: int,
    ) -> None:
        self._growing = growing
        self._group = group
        self._order = order
        self._left = count
        self._next = 0
        self._compression = compression
        self._chunk_compression = chunk_compression
        self._alone = alone
        self._folder = folder
        self._room = kept
        self._early: dict[int, Sequence[Buffer] | tuple[int, int]] = {}
        self._spilled: Any = None
        self._spilled_nbytes = 0
        self._own: Any = None
        self._own_nbytes = 0
        self._at: int | None = None
        self._sums = np.zeros(3, np.int64)
        self._lock = threading.Lock()
        self._dictionary: Page | None = None
        if dictionary:
            self._dictionary = dictionary_page(dictionary, compression)
            self._count(self._dictionary)
            self._append(self._dictionary.parts)

    def put(self, number: int, data: np.ndarray) -> bool:
        """Write a piece, from any thread; whether it was the last one that was missing."""
        pages = self._pages(number, data)
        with self._lock:
            self._count(pages)
            if number == self._next:
                self._append(pages.parts)
                self._next += 1
                self._catch_up()
            elif pages.nbytes <= self._room:
                self._room -= pages.nbytes
                self._early[number] = pages.parts
            else:
                self._spill(number, pages)
            self._left -= 1
            return not self._left

    def _pages(self, number: int, data: np.ndarray) -> Page:
        how = {"first": number == 0, "compression": self._compression}
        if self._dictionary is not None:
            return number_pages(data, **how)  # type: ignore[arg-type]
        encoder = codec(self._chunk_compression, parquet=False)
        payload = data if encoder is None else encoder.compress(data, asbytes=True)
        return byte_pages(payload, **how)  # type: ignore[arg-type]

    def _count(self, pages: Page) -> None:
        self._sums += (pages.nbytes, pages.uncompressed, pages.values)

    def _catch_up(self) -> None:
        """Write what has waited for what was just written."""
        while self._next in self._early:
            early = self._early.pop(self._next)
            self._next += 1
            if isinstance(early, tuple):
                self._append([self._read(self._spilled, *early)])
            else:
                self._room += sum(memoryview(part).nbytes for part in early)
                self._append(early)

    def _spill(self, number: int, pages: Page) -> None:
        if self._spilled is None:
            self._spilled = self._nameless()
        at = self._spilled_nbytes
        self._spilled_nbytes += write_all(self._spilled.fileno(), pages.parts, at)
        self._early[number] = at, pages.nbytes

    def _nameless(self) -> Any:
        return tempfile.TemporaryFile(buffering=0, dir=self._folder)

    def _read(self, file: Any, at: int, nbytes: int) -> bytearray:
        data = bytearray(nbytes)
        read_at(file.fileno(), memoryview(data), at)
        return data

    def _append(self, parts: Sequence[Buffer]) -> None:
        nbytes = sum(memoryview(part).nbytes for part in parts)
        if self._alone:
            at = self._growing.put(nbytes, parts)
            self._at = at if self._at is None else self._at
            return
        if self._own is None:
            self._own = self._nameless()
        write_all(self._own.fileno(), parts, self._own_nbytes)
        self._own_nbytes += nbytes

    def finish(self) -> None:
        """Have the row in the file, now that all pieces are there."""
        if self._own is not None:
            pieces = range(0, self._own_nbytes, _PIECE)
            copied = (
                [self._read(self._own, at, min(_PIECE, self._own_nbytes - at))] for at in pieces
            )
            self._at = self._growing.put_all(self._own_nbytes, copied)
        assert self._at is not None
        nbytes, uncompressed, values = self._sums.tolist()
        whole = Page((), nbytes, uncompressed, values)
        place, compression, dictionary = self._at, self._compression, self._dictionary
        self._growing.add(
            self._group,
            self._order,
            elsewhere=lambda like: column_chunk(like, place, whole, compression, dictionary),
        )
        self.close()

    def close(self) -> None:
        """Remove the files without a name."""
        for file in (self._own, self._spilled):
            if file is not None:
                file.close()
        self._own = self._spilled = None
        self._early.clear()
