"""Values in an LZ4 frame, of which only the blocks that are wanted are read and decoded.

A frame of tenso or of this package has blocks that are independent and, all but the last, full: the
block of a byte is known from its offset. A range of values is a range of blocks, which lie side by
side in the file and are one read. Blocks that are wanted whole are decoded straight into their
place; of one at the border of two pieces the second piece finds it decoded.

Whether blocks are full is proved by the last one: if it is as long as what the others leave, none
of them can be short. In frames whose blocks are not independent or not full nothing can be found
alone; they are decoded from the start, once in a run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import ChecksumError, ChunkDecodeError, FormatError
from lazytensor.io.runs import PIECE, Piece, bytes_of, pieces_of
from lazytensor.io.scratch import STAGE_A, STAGE_B, STAGE_ROW, Scratch, thread_scratch
from lazytensor.io.store import Buffer, StoredObject
from lazytensor.io.stored import Stored
from lazytensor.io.tenso.checking import Session
from lazytensor.io.tenso.dense_source import CELL, range_of
from lazytensor.io.tenso.frame import RAW, Frame
from lazytensor.io.tenso.lz4 import decode_blocks, decode_frame
from lazytensor.io.tenso.outline import Dense
from lazytensor.io.tenso.sharing import share_pieces
from lazytensor.plan.clock import decoding
from lazytensor.plan.counters import count
from lazytensor.plan.keeping import kept
from lazytensor.plan.one_at_a_time import OneAtATime
from lazytensor.plan.source import Box, Fetched, Read, Reading, window

__all__ = ["FrameBody"]

_WORD = 4
_CELLS = 4
"""Blocks of a virtual chunk, at least: those at its borders may be decoded twice."""
_MOST_CELL = 16 << 20


class _Wanted(NamedTuple):
    """A piece and the blocks [first, last) that it takes; before ``begin`` they are decoded."""

    piece: Piece
    first: int
    begin: int
    last: int


class _Whole:
    """All values of a frame that has to be decoded from its start, once they are there."""

    __slots__ = ("turns", "values")

    def __init__(self) -> None:
        self.turns = OneAtATime()
        self.values: np.ndarray | None = None


class FrameBody:
    """The values of a compressed packet. ``where``: named in errors."""

    def __init__(self, packet: Dense, stored: Stored, where: str) -> None:
        assert packet.frame is not None
        self._frame: Frame = packet.frame
        self._shape = packet.shape
        self._where = where
        self._remote = stored.remote
        self.dtype = packet.dtype
        self.start, self.stop = packet.body
        self._nbytes = packet.nbytes
        self.align = self._block = self._frame.block_most
        self.cell = min(_MOST_CELL, max(CELL, _CELLS * self._block))
        self._is_regular = _may_be_regular(self._frame, self._nbytes)
        self._is_proved = self._is_regular and self._has_table
        self.codecs: tuple[Any, ...] = (
            {
                "name": "lz4",
                "blocks": len(self._frame.starts),
                "block_nbytes": self._block,
                "independent": self._frame.independent,
                "seekable": self._has_table,
            },
        )

    @property
    def _has_table(self) -> bool:
        """Whether a table of blocks follows: only this package writes it, behind full blocks."""
        frame = self._frame
        return bool(frame.starts) and frame.stop > self._stop_of(len(frame.starts)) + _WORD

    def _stop_of(self, last: int) -> int:
        """Where the blocks before ``last`` end."""
        frame = self._frame
        nbytes = frame.sizes[last - 1] & ~RAW
        return frame.starts[last - 1] + nbytes + _WORD * frame.block_checksums

    def _span(self, first: int, last: int) -> tuple[int, int]:
        """The bytes of the file with the blocks [first, last) and their sizes."""
        return self._frame.starts[first] - _WORD, self._stop_of(last)

    @property
    def span(self) -> tuple[int, int]:
        """The bytes of the file with all blocks and their sizes."""
        last = len(self._frame.starts)
        return self._span(0, last) if last else (self.start, self.start)

    def _pieces(self, box: Box, steps: Sequence[int]) -> Iterator[Piece]:
        """Pieces in the decoded bytes: what lies within one block is decoded anyway."""
        most = max(PIECE, _CELLS * self._block)
        return pieces_of(self._shape, self.dtype.itemsize, box, steps, gap=self._block, most=most)

    def _wanted(self, pieces: Iterable[Piece]) -> Iterator[_Wanted]:
        done = 0
        for piece in pieces:
            first = piece.start // self._block
            last = -(-(piece.start + piece.nbytes) // self._block)
            yield _Wanted(piece, first, max(first, done), last)
            done = last

    def read(
        self,
        whole: StoredObject,
        box: Box,
        steps: Sequence[int],
        out: np.ndarray,
        session: Session | None,
    ) -> None:
        """Fill ``out`` with every ``steps[d]``-th element of a box."""
        if self._find_regular(whole):
            self._read(whole, list(self._wanted(self._pieces(box, steps))), out, session)
        else:
            self._read_decoded(whole, box, steps, out, session)
        if self.dtype == np.bool_:
            np.not_equal(out.view(np.uint8), 0, out=out)

    def _prove(self, whole: StoredObject) -> None:
        self._find_regular(whole)

    def _find_regular(self, whole: StoredObject) -> bool:
        """Whether blocks can be found alone; proves it with the first read."""
        if self._is_proved or not self._is_regular:
            return self._is_regular
        number = len(self._frame.starts) - 1
        start, stop = self._span(number, number + 1)
        data = whole.read(start, stop - start)
        count("bytes_read", stop - start)
        try:
            target = np.empty(self._nbytes - number * self._block, np.uint8)
            self._decode(data, start, number, number + 1, target)
        except ChunkDecodeError:
            # It may be longer: then one before it is shorter.
            self._is_regular = False
        self._is_proved = True
        return self._is_regular

    def _read(
        self,
        whole: StoredObject,
        wanted: Sequence[_Wanted],
        out: np.ndarray,
        session: Session | None,
    ) -> None:
        """Blocks are found alone: each is read and decoded once."""
        scratch = thread_scratch()
        spans = [self._span(one.begin, one.last) for one in wanted if one.begin < one.last]
        buffers = whole.read_many(spans, scratch)
        edge = np.frombuffer(scratch.take(STAGE_B, self._block), np.uint8)
        for piece, first, begin, last in wanted:
            base, data = 0, memoryview(b"")
            if begin < last:
                base, data = self._frame.starts[begin] - _WORD, memoryview(next(buffers))
                count("bytes_read", len(data))
                if session is not None:
                    session.take(whole, base, data)
            target = out[(*piece.place, ...)]
            straight = target.nbytes == piece.nbytes and target.dtype in (self.dtype, np.uint8)
            view = bytes_of(target) if straight else None
            room = scratch.take(STAGE_A, piece.nbytes) if view is None else view
            into = np.frombuffer(room, np.uint8)
            self._fill(into, piece.start, (first, begin, last), data, base, edge, scratch)
            if view is None:
                target[...] = np.ndarray(target.shape, self.dtype, room, 0, piece.strides)

    def _fill(
        self,
        into: np.ndarray,
        start: int,
        blocks: tuple[int, int, int],
        data: memoryview,
        base: int,
        edge: np.ndarray,
        scratch: Scratch,
    ) -> None:
        """Fill ``into`` with the decoded bytes from ``start`` on.

        ``blocks``: the first, the first that is not decoded yet (the one before is in ``edge``),
        and the end; the last one is in ``edge`` afterwards, unless it is wanted whole.
        """
        first, begin, last = blocks
        size, stop = self._block, start + len(into)
        if first < begin:
            upto = min(stop, begin * size)
            into[: upto - start] = edge[start - first * size : upto - first * size]
        # Blocks that are wanted whole, side by side.
        lo = max(begin, -(-start // size))
        hi = last if stop == min(self._nbytes, last * size) else last - 1
        if lo < hi:
            part = into[lo * size - start : min(hi * size, stop) - start]
            self._decode(data, base, lo, hi, part)
        for number in {begin, last - 1} - set(range(lo, hi)):
            if not begin <= number < last:
                continue
            is_last = number == last - 1
            room = edge if is_last else np.frombuffer(scratch.take(STAGE_ROW, size), np.uint8)
            room = room[: min(size, self._nbytes - number * size)]
            self._decode(data, base, number, number + 1, room)
            a, b = max(start, number * size), min(stop, (number + 1) * size)
            into[a - start : b - start] = room[a - number * size : b - number * size]

    def _decode(self, data: Buffer, base: int, first: int, last: int, out: np.ndarray) -> None:
        sizes = self._frame.sizes
        for number in range(first, last):
            at = self._frame.starts[number] - _WORD - base
            if struct.unpack_from("<I", data, at)[0] != sizes[number]:
                raise FormatError(
                    f"{self._where}: block {number} of its LZ4 frame has another size than it has "
                    f"in the table behind the frame"
                )
        try:
            with decoding():
                decode_blocks(self._frame, data, base, first, last, out)
        except (ChunkDecodeError, ChecksumError) as error:
            raise type(error)(f"{self._where}: {error}") from None
        count("bytes_decoded", out.nbytes)

    def _read_decoded(
        self,
        whole: StoredObject,
        box: Box,
        steps: Sequence[int],
        out: np.ndarray,
        session: Session | None,
    ) -> None:
        """Nothing is found alone: all is decoded, once in a run."""
        found = kept(("tenso-frame", self), _Whole)
        with found.turns:
            if found.values is None:
                found.values = self._decode_all(whole, session)
        part = [slice(lo, hi, by) for (lo, hi), by in zip(box, steps, strict=True)]
        out[...] = window(found.values, part)

    def _decode_all(self, whole: StoredObject, session: Session | None) -> np.ndarray:
        start, stop = self.span
        data = memoryview(whole.read(start, stop - start))
        count("bytes_read", len(data))
        if session is not None:
            session.take(whole, start, data)
        if (end := self._frame.content_checksum) is not None:
            data = memoryview(bytes(data) + bytes(whole.read(stop, end + 4 - stop)))
        values = np.empty(self._shape, self.dtype)
        try:
            with decoding():
                decode_frame(self._frame, data, start, values)
        except (ChunkDecodeError, ChecksumError) as error:
            raise type(error)(f"{self._where}: {error}") from None
        count("bytes_decoded", values.nbytes)
        return values

    def share(
        self,
        stored: Stored,
        box: Box,
        steps: Sequence[int],
        out: np.ndarray,
        session: Session | None,
    ) -> Reading | None:
        """Each thread takes the next blocks, if all are wanted and lie as they do in ``out``."""
        found = range_of(self._shape, box, steps)
        view = bytes_of(out) if out.dtype == self.dtype else None
        if found is None or view is None or not self._is_regular:
            return None
        if not self._is_proved:
            stored.using(self._prove)
            if not self._is_regular:
                return None
        start, stop = (at * self.dtype.itemsize for at in found)
        size, memory = self._block, np.frombuffer(view, np.uint8)
        group = max(1, PIECE // 4 // size)
        first, last = start // size, -(-stop // size)
        firsts = range(first, last, group)

        def work(whole: StoredObject, number: int) -> None:
            begin = firsts[number]
            end = min(last, begin + group)
            lo, hi = max(start, begin * size), min(stop, end * size)
            piece = Piece(lo, hi - lo, (1,), (slice(lo - start, hi - start),))
            self._read(whole, [_Wanted(piece, begin, begin, end)], memory, session)
            if self.dtype == np.bool_:
                part = memory[lo - start : hi - start]
                np.not_equal(part, 0, out=part.view(np.bool_))

        return share_pieces(stored, len(firsts), work)

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """Whether a box is a range of blocks, which can be found alone."""
        return self._is_regular and range_of(self._shape, box, steps) is not None

    def fetched(self, reads: Iterable[Read]) -> Fetched:
        """The blocks, those at the borders of reads for each of them."""
        if not self._is_regular:
            start, stop = self.span
            more = 0 if self._frame.content_checksum is None else _WORD
            return Fetched(stop - start + more, len(self._frame.starts), self._nbytes)
        stored, blocks = 0, set[int]()
        if not self._is_proved:
            count = len(self._frame.starts)
            stored += _length(self._span(count - 1, count))
        for read in reads:
            for one in self._wanted(self._pieces(*read)):
                if one.begin < one.last:
                    stored += _length(self._span(one.begin, one.last))
                    blocks.update(range(one.begin, one.last))
        decoded = sum(min(self._block, self._nbytes - at * self._block) for at in blocks)
        return Fetched(stored, len(blocks), decoded)

    def nbytes_between(self, lo: int, hi: int) -> int:
        """Of all blocks that hold any of the elements; of others than full ones, about."""
        if hi <= lo:
            return 0
        start, stop = lo * self.dtype.itemsize, hi * self.dtype.itemsize
        if not self._is_regular:
            return _length(self.span) * (stop - start) // self._nbytes
        return _length(self._span(start // self._block, -(-stop // self._block)))

    def beside(self, nbytes: int) -> int:
        """Blocks as they are stored, and decoded where they are not wanted whole; of what has to be
        decoded from its start, everything."""
        stored = _length(self.span)
        if not self._is_regular:
            return stored + self._nbytes
        piece = max(PIECE, _CELLS * self._block)
        if self._remote:
            return stored + min(self._nbytes, piece) + 2 * self._block
        return min(stored, piece + 2 * self._block) + min(self._nbytes, piece) + 2 * self._block


def _length(span: tuple[int, int]) -> int:
    return span[1] - span[0]


def _may_be_regular(frame: Frame, nbytes: int) -> bool:
    """Whether nothing that is known of the blocks speaks against all but the last being full."""
    size = frame.block_most
    if not frame.independent or len(frame.starts) != -(-nbytes // size):
        return False
    full = [stored for stored in frame.sizes[:-1] if stored & RAW]
    return all(stored & ~RAW == size for stored in full)
