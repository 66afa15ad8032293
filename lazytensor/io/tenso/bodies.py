"""Bodies of packets that are written block by block, in any order and from several threads.

Values that are stored as they are go straight to their offset in the file. What has to be in order
is the checksum, and compressed blocks, whose offsets nobody knows before: the thread that has what
comes next does that, and then what others have left behind it meanwhile; nobody ever waits. What
was left is read again from the file, or, of compressed blocks, from one that has no name. So memory
does not depend on the size of the body.
"""

from __future__ import annotations

import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import Any, Protocol

import numpy as np

from lazytensor.io.staging import named, read_at, write_all
from lazytensor.io.tenso.encode import pack_nibbles
from lazytensor.io.tenso.lz4 import SEEKABLE_BLOCK, compress_block, frame_begin, frame_end
from lazytensor.plan.sink import Runs
from lazytensor.plan.source import Box

__all__ = ["Body", "CompressedBody", "PackedBody", "PlainBody", "run_of"]

Buffer = bytes | bytearray | memoryview
_PIECE = 1 << 20
_NIBBLES = 2


def run_of(box: Box, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The elements, in C order, that a box of a tensor consists of; None if they are several runs.

    >>> run_of(((1, 3), (0, 4)), (5, 4)), run_of(((1, 2), (1, 3)), (5, 4))
    ((4, 12), (5, 7))
    >>> print(run_of(((1, 3), (1, 3)), (5, 4)))
    None
    """
    start, extent, whole = 0, 1, True
    for (lo, hi), n in zip(box, shape, strict=True):
        start = start * n + lo
        if hi - lo == n and whole is False:
            extent *= n
        elif hi - lo == 1 and extent == 1:
            continue
        elif extent == 1:
            extent, whole = hi - lo, False
        else:
            return None
    return start, start + extent


class Body(Protocol):
    """A target that is a stretch of a file."""

    label: str
    cells: tuple[int | None, ...]
    runs: Runs

    def held(self, nbytes: int) -> int:
        """As ``plan.sink.Target`` has it."""
        ...

    def write(self, box: Box, values: np.ndarray) -> None:
        """As ``plan.sink.Target`` has it."""
        ...

    def begin(self, fd: int, at: int, folder: str) -> None:
        """Write to an open file, from an offset on; ``folder``: where temporary files may be."""
        ...

    def end(self) -> tuple[int, int | None]:
        """When all is written: how many bytes that were, and their XXH3-64 if it is wanted."""
        ...

    def close(self) -> None:
        """Give back what it holds, finished or not."""
        ...


class _InOrder:
    """Does something with stretches of a sequence in order, whoever brings them when.

    ``now(what)``: do it with what somebody holds in memory; ``later(kept)``: with what was left.
    Both are called by one thread at a time.
    """

    def __init__(self, now: Callable[[Any], None], later: Callable[[Any], None]) -> None:
        self._now = now
        self._later = later
        self._lock = threading.Lock()
        self._busy = False
        self._left: dict[int, tuple[int, Any]] = {}
        self.next = 0

    def bring(self, start: int, stop: int, what: Any, keep: Callable[[], Any]) -> None:
        """The stretch [start, stop); ``keep()`` leaves it for whoever brings what is before it."""
        do = self._now
        with self._lock:
            if start == stop or start < self.next or start in self._left:
                return
            mine = start == self.next and not self._busy
            self._busy = self._busy or mine
        if not mine:
            kept = keep()
            with self._lock:
                if start < self.next:
                    return
                self._left.setdefault(start, (stop, kept))
                if self._busy or self.next not in self._left:
                    return
                self._busy = True
                stop, what = self._left.pop(self.next)
            do = self._later
        while True:
            do(what)
            with self._lock:
                self.next = stop
                if stop not in self._left:
                    self._busy = False
                    return
                stop, what = self._left.pop(stop)
            do = self._later


class _FileBody:
    """What is common: a stretch of a file, and its checksum.

    ``hashed``: bytes that the checksum covers before the body, asked for when the first is written.
    """

    runs: Runs = "rather"

    def __init__(
        self,
        label: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        *,
        integrity: bool,
        hashed: Callable[[], Buffer] = bytes,
    ) -> None:
        self.label = label
        self.shape = shape
        self.dtype = dtype.newbyteorder("<")
        self.cells: tuple[int | None, ...] = (None,) * len(shape)
        self._integrity = integrity
        self._hashed = hashed
        self._hasher: Any = None
        self._fd = -1
        self._at = 0
        self._folder = ""
        self._order = _InOrder(self._hash, self._hash_again)

    def held(self, nbytes: int) -> int:
        """A copy in the order of the file."""
        return nbytes

    def begin(self, fd: int, at: int, folder: str) -> None:
        """Write to an open file, from an offset on; ``folder``: where temporary files may be."""
        self._fd, self._at, self._folder = fd, at, folder

    def close(self) -> None:
        """Nothing is held."""
        self._fd = -1

    def _put(self, at: int, data: Buffer) -> None:
        with named(self.label, f"at byte {self._at + at}"):
            write_all(self._fd, [data], self._at + at)

    def _hash(self, data: Buffer) -> None:
        if self._hasher is None:
            import xxhash

            self._hasher = xxhash.xxh3_64(self._hashed())
        self._hasher.update(data)

    def _hash_again(self, stretch: tuple[int, int]) -> None:
        for piece in self._pieces(*stretch):
            self._hash(piece)

    def _pieces(self, start: int, stop: int) -> Iterator[memoryview]:
        """Bytes of the body as they are in the file."""
        room = memoryview(bytearray(min(_PIECE, stop - start)))
        for at in range(start, stop, _PIECE):
            piece = room[: stop - at]
            with named(self.label, f"at byte {self._at + at}"):
                read_at(self._fd, piece, self._at + at)
            yield piece

    def _digest(self, nbytes: int) -> int | None:
        """The checksum of the body, what is left of it read again."""
        if not self._integrity:
            return None
        self._hash(b"")
        self._hash_again((self._order.next, nbytes))
        digest: int = self._hasher.intdigest()
        return digest

    def _ordered(self, values: np.ndarray) -> np.ndarray:
        """As bytes in C order, one dim."""
        return np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8)


class PlainBody(_FileBody):
    """Values as they are in memory."""

    @property
    def nbytes(self) -> int:
        """Bytes of the body."""
        return prod(self.shape) * self.dtype.itemsize

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write a box, of any kind; one that is a run in C order with one write."""
        run = run_of(box, self.shape)
        item = self.dtype.itemsize
        if run is None:
            self._write_rows(box, values)
            return
        start, data = run[0] * item, self._ordered(values)
        stop = start + data.nbytes
        self._put(start, data.data)
        if self._integrity:
            self._order.bring(start, stop, data.data, lambda: (start, stop))

    def _write_rows(self, box: Box, values: np.ndarray) -> None:
        """A box that is several runs; the checksum then takes another look at the file."""
        d = len(box) - 1
        while box[d] == (0, self.shape[d]):
            d -= 1
        inner = prod(self.shape[d + 1 :])
        strides = [inner * prod(self.shape[i + 1 : d + 1]) for i in range(d + 1)]
        nbytes = (box[d][1] - box[d][0]) * inner * self.dtype.itemsize
        rows = self._ordered(values).reshape(-1, max(1, nbytes))
        starts = product(*[range(lo, hi) for lo, hi in box[:d]])
        for row, outer in zip(rows, starts, strict=True):
            element = sum(i * s for i, s in zip((*outer, box[d][0]), strides, strict=True))
            self._put(element * self.dtype.itemsize, row.data)

    def end(self) -> tuple[int, int | None]:
        """How many bytes, and their checksum."""
        return self.nbytes, self._digest(self.nbytes)


class PackedBody(_FileBody):
    """Values of 4 bits, two a byte, the first in the low half."""

    runs: Runs = "only"

    def __init__(self, label: str, shape: tuple[int, ...], dtype: np.dtype, **options: Any) -> None:
        super().__init__(label, shape, dtype, **options)
        self._halves: dict[int, dict[int, int]] = {}
        self._guard = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of the body."""
        return -(-prod(self.shape) // _NIBBLES)

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write a run in C order."""
        run = run_of(box, self.shape)
        assert run is not None
        first, last = run
        flat = np.ascontiguousarray(values).reshape(-1)
        if first % _NIBBLES and len(flat):
            self._half(first // _NIBBLES, 1, int(flat[0]) & 0xF)
            first, flat = first + 1, flat[1:]
        if last % _NIBBLES and last != prod(self.shape) and len(flat):
            self._half(last // _NIBBLES, 0, int(flat[-1]) & 0xF)
            flat = flat[:-1]
        if len(flat):
            packed = np.empty(-(-len(flat) // _NIBBLES), np.uint8)
            pack_nibbles(flat, packed)
            self._bring(first // _NIBBLES, packed.data)

    def _half(self, at: int, which: int, bits: int) -> None:
        """One half of a byte that two runs share; whoever comes second writes it."""
        with self._guard:
            pair = self._halves.setdefault(at, {})
            pair[which] = bits
            if len(pair) < _NIBBLES:
                return
        self._bring(at, bytes((pair[0] | pair[1] << 4,)))

    def _bring(self, start: int, data: Buffer) -> None:
        stop = start + len(data)
        self._put(start, data)
        if self._integrity:
            self._order.bring(start, stop, data, lambda: (start, stop))

    def end(self) -> tuple[int, int | None]:
        """How many bytes, and their checksum."""
        return self.nbytes, self._digest(self.nbytes)


def _nameless(folder: str) -> Any:
    """A file that nobody else sees, and that goes with this process."""
    return tempfile.TemporaryFile(buffering=0, dir=folder)


class _Stretch:
    """A part of the content, its whole blocks compressed: ``pieces`` are ``(size, bytes)`` of a
    block as ``compress_block`` gives them, or ``(None, bytes)`` of values of a block that others
    have a part in."""

    def __init__(self, start: int, data: memoryview) -> None:
        stop = start + len(data)
        first = min(stop, -(-start // SEEKABLE_BLOCK) * SEEKABLE_BLOCK)
        last = max(first, stop // SEEKABLE_BLOCK * SEEKABLE_BLOCK)
        self.pieces: list[tuple[int | None, Buffer]] = []
        if first > start:
            self.pieces.append((None, data[: first - start]))
        for at in range(first - start, last - start, SEEKABLE_BLOCK):
            self.pieces.append(compress_block(data[at : at + SEEKABLE_BLOCK]))
        if stop > last:
            self.pieces.append((None, data[last - start :]))


class CompressedBody(_FileBody):
    """A seekable LZ4 frame (``lz4``): blocks of 256 KiB, and a table of them."""

    runs: Runs = "only"

    def __init__(self, label: str, shape: tuple[int, ...], dtype: np.dtype, **options: Any) -> None:
        super().__init__(label, shape, dtype, **options)
        self._content = prod(shape) * dtype.itemsize
        self._sizes: list[int] = []
        self._pending = bytearray()
        self._written = 0
        self._spill: Any = None
        self._spilled = 0
        self._guard = threading.Lock()
        self._order = _InOrder(self._emit, self._emit_again)

    def held(self, nbytes: int) -> int:
        """A copy in the order of the file, and it compressed."""
        return 2 * nbytes + SEEKABLE_BLOCK

    def begin(self, fd: int, at: int, folder: str) -> None:
        """Write to an open file, from an offset on; ``folder``: where temporary files may be."""
        super().begin(fd, at, folder)
        self._append([frame_begin(self._content, seekable=True)])

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write a run in C order."""
        run = run_of(box, self.shape)
        assert run is not None
        data = self._ordered(values)
        start = run[0] * self.dtype.itemsize
        stretch = _Stretch(start, data.data)
        self._order.bring(
            start, start + data.nbytes, stretch.pieces, lambda: self._leave(stretch.pieces)
        )

    def _leave(
        self, pieces: list[tuple[int | None, Buffer]]
    ) -> tuple[int, list[tuple[int | None, int]]]:
        """Put pieces where they take no memory: where, and how long each is."""
        lengths = [(size, len(data)) for size, data in pieces]
        total = sum(length for _, length in lengths)
        with self._guard:
            if self._spill is None:
                with named(self.label, "a temporary file"):
                    self._spill = _nameless(self._folder)
            at, self._spilled = self._spilled, self._spilled + total
        with named(self.label, "a temporary file"):
            write_all(self._spill.fileno(), [data for _, data in pieces], at)
        return at, lengths

    def _emit_again(self, left: tuple[int, list[tuple[int | None, int]]]) -> None:
        at, lengths = left
        for size, length in lengths:
            room = memoryview(bytearray(length))
            with named(self.label, "a temporary file"):
                read_at(self._spill.fileno(), room, at)
            self._emit([(size, room)])
            at += length

    def _emit(self, pieces: list[tuple[int | None, Buffer]]) -> None:
        for size, data in pieces:
            if size is not None:
                self._block(size, data)
                continue
            self._pending += data
            if len(self._pending) == SEEKABLE_BLOCK:
                self._block(*compress_block(bytes(self._pending)))
                self._pending.clear()

    def _block(self, size: int, data: Buffer) -> None:
        self._sizes.append(size)
        self._append([struct.pack("<I", size), data])

    def _append(self, parts: list[Buffer]) -> None:
        for part in parts:
            self._put(self._written, part)
            self._written += len(part)
            if self._integrity:
                self._hash(part)

    def end(self) -> tuple[int, int | None]:
        """How many bytes, and their checksum."""
        if self._pending:
            self._block(*compress_block(bytes(self._pending)))
            self._pending.clear()
        self._append([frame_end(self._sizes, seekable=True)])
        digest = self._hasher.intdigest() if self._integrity else None
        return self._written, digest

    def close(self) -> None:
        """Drop what was left on the way."""
        super().close()
        spill, self._spill = self._spill, None
        if spill is not None:
            spill.close()
