"""From decoded bytes to stored ones: what an encoder is, and where it puts what it makes.

The other direction of ``bytecodec`` and ``pipeline``, apart from them because reading needs none of
it. An object is encoded into a ``Room``: the memory of one thread, whose free end is handed to the
last encoder of a chain, so that its output lies where the object grows and nobody copies it again.
What lies in memory as it is stored (raw chunks) is passed on and not copied at all.

The same values and settings make the same bytes, whatever was encoded before: who writes an object
a second time changes nothing.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lazytensor.errors import FormatError, SinkError
from lazytensor.io.scratch import KEPT_BYTES, STAGE_A, STAGE_B, Scratch
from lazytensor.io.store import Buffer

__all__ = [
    "ChecksumEncoder", "EncodeChain", "Encoder", "Room", "Take", "all_elements_are",
    "encoding_memory",
]  # fmt: skip

Take = Callable[[int], memoryview]
"""Asked once for so many bytes, gives at least one place of exactly that size to write to."""

_BLOCK = 8 << 20
# Parts of an object that are shorter are copied together: a write has a price of its own.
_SHORT = 32 << 10
_NO_LIMIT = 1 << 62
_FIRST_LOOK = 4 << 10
_LOOK = 256 << 10


class Room:
    """An object while it is encoded: its parts so far, and room at the end.

    >>> room = Room()
    >>> tail = room.take(100); tail[:3] = b"abc"
    >>> room.add(tail[:3]); room.add(b"de")
    >>> room.nbytes, [bytes(part) for part in room.parts()]
    (5, [b'abcde'])
    """

    __slots__ = ("_at", "_blocks", "_parts", "_used", "nbytes")

    def __init__(self) -> None:
        self._blocks: list[memoryview] = []
        self.reset()

    def reset(self) -> None:
        """Begin another object: the memory of the one before is used again."""
        kept = 0
        for i, block in enumerate(self._blocks):
            kept += len(block)
            if kept > KEPT_BYTES:
                del self._blocks[i:]
                break
        self._at = self._used = 0
        self._parts: list[Buffer | tuple[int, int, int]] = []
        self.nbytes = 0

    def take(self, nbytes: int) -> memoryview:
        """So many bytes of room behind what there is, to be added in part or not at all."""
        blocks = self._blocks
        while self._at < len(blocks) and len(blocks[self._at]) - self._used < nbytes:
            self._at += 1
            self._used = 0
        if self._at == len(blocks):
            blocks.append(np.empty(max(nbytes, _BLOCK), np.uint8).data)
        return blocks[self._at][self._used : self._used + nbytes]

    def add(self, data: Buffer) -> None:
        """Let data follow: the front of what was taken last, or memory that stays as it is.

        That must not change before the object was written.
        """
        size = len(data)
        if not self._is_taken(data):
            if size > _SHORT:
                self._parts.append(data)
                self.nbytes += size
                return
            self.take(size)[:] = data
        start = self._used
        self._used += size
        self.nbytes += size
        last = self._parts[-1] if self._parts else None
        if isinstance(last, tuple) and last[0] == self._at and last[2] == start:
            self._parts[-1] = self._at, last[1], self._used
        else:
            self._parts.append((self._at, start, self._used))

    def _is_taken(self, data: Buffer) -> bool:
        at = self._at
        return (
            isinstance(data, memoryview)
            and at < len(self._blocks)
            and data.obj is self._blocks[at].obj
        )

    def hold(self, nbytes: int) -> bytearray:
        """A part that is filled in later."""
        held = bytearray(nbytes)
        self._parts.append(held)
        self.nbytes += nbytes
        return held

    def drop(self, held: bytearray) -> None:
        """Take the part back that was held last and has nothing behind it."""
        assert self._parts[-1] is held
        self.nbytes -= len(held)
        del self._parts[-1]

    def parts(self, first: int = 0) -> list[Buffer]:
        """The object, in order, from its ``first`` part on; good until ``reset``."""
        return [
            self._blocks[part[0]][part[1] : part[2]] if isinstance(part, tuple) else part
            for part in self._parts[first:]
        ]


class Encoder(ABC):
    """One step of encoding. Immutable and thread-safe.

    ``name``: as in the metadata. ``most``: the longest input, in bytes.
    """

    name: str
    most = _NO_LIMIT

    @abstractmethod
    def encode(self, data: memoryview, take: Take) -> Buffer:
        """All of ``data`` encoded: in the front of what ``take`` gave, or in memory of its own.

        Never a part of ``data``. ``SinkError`` for values that this encoding cannot hold.
        """

    @abstractmethod
    def bound(self, size: int) -> int:
        """No ``size`` bytes become more than this."""

    def __repr__(self) -> str:
        return self.name


class ChecksumEncoder(Encoder):
    """Adds four bytes that are computed of the data; ``at_start``: in front of it."""

    at_start = False

    @abstractmethod
    def digest(self, data: Buffer) -> bytes:
        """The four bytes."""

    def bound(self, size: int) -> int:
        """Four bytes more."""
        return size + 4

    def encode(self, data: memoryview, take: Take) -> Buffer:
        """Both in one place."""
        out, size = take(len(data) + 4), len(data)
        first, body = (out[:4], out[4:]) if self.at_start else (out[size:], out[:size])
        first[:] = self.digest(data)
        body[:] = data
        return out


class EncodeChain:
    """Encoders in the order of encoding. ``where`` names them in errors.

    ``size``: bytes that they are given at most. Raises ``FormatError`` for more than one of them
    can take.
    """

    __slots__ = ("_last", "_steps", "_tail", "is_raw")

    def __init__(self, encoders: Sequence[Encoder], size: int, where: str) -> None:
        for encoder in encoders:
            if size > encoder.most:
                raise FormatError(
                    f"{where}: {encoder.name} encodes at most {encoder.most} bytes at once, and a "
                    f"chunk can have {size}; make the chunks smaller or choose another codec"
                )
            size = encoder.bound(size)
        steps = list(encoders)
        # Where nothing else follows, the checksum stands beside the data and nothing is copied.
        self._tail: ChecksumEncoder | None = None
        if steps and isinstance(tail := steps[-1], ChecksumEncoder):
            self._tail = tail
            del steps[-1]
        self._last = steps.pop() if steps else None
        self._steps = tuple(steps)
        self.is_raw = self._last is None
        """Whether the data itself is stored: it must stay as it is until it was written."""

    def most(self, size: int) -> tuple[int, int]:
        """What ``size`` bytes become at most, and how many lie in the scratch meanwhile."""
        aside = 0
        for step in self._steps:
            size = step.bound(size)
            aside += size
        size = size if self._last is None else self._last.bound(size)
        return size if self._tail is None else self._tail.bound(size), aside

    def encode(self, data: Buffer, room: Room, scratch: Scratch) -> None:
        """Add data to the object in ``room``; it is not in ``STAGE_B`` of the scratch.

        ``SinkError`` for what cannot be encoded.
        """
        view = memoryview(data)
        for at, step in enumerate(self._steps):
            slot = STAGE_A if at & 1 else STAGE_B
            view = memoryview(_encoded(step, view, partial(scratch.take, slot)))
        found = view if self._last is None else _encoded(self._last, view, room.take)
        if self._tail is None:
            room.add(found)
            return
        digest = self._tail.digest(found)
        if not self._tail.at_start:
            room.add(found)
            room.add(digest)
            return
        held = room.hold(len(digest))
        held[:] = digest
        room.add(found)


def _encoded(encoder: Encoder, data: memoryview, take: Take) -> Buffer:
    if len(data) > encoder.most:
        raise SinkError(
            f"{encoder.name}: {len(data)} bytes to encode at once; at most {encoder.most} can be: "
            "make the chunks smaller or choose another codec"
        )
    return encoder.encode(data, take)


class _PerThread(threading.local):
    """Not the scratch that reading uses: a finalizer may read something in the midst of this."""

    def __init__(self) -> None:
        self.room = Room()
        self.scratch = Scratch()


_per_thread = _PerThread()


def encoding_memory() -> tuple[Room, Scratch]:
    """Of the calling thread, for one object at a time."""
    return _per_thread.room, _per_thread.scratch


def all_elements_are(data: Buffer, element: bytes) -> bool:
    """Whether data is that element over and over, byte for byte; stops where it is not.

    >>> all_elements_are(b"abab", b"ab"), all_elements_are(b"abaa", b"ab")
    (True, False)
    """
    size, item = len(data), len(element)
    first = max(item, 8) if not 8 % item else item
    if bytes(data[:first]) != (element * (first // item))[:size]:
        return False
    if item <= 8 and not 8 % item and not size % 8:
        words = np.frombuffer(data, np.uint64)
        return _are_equal(words, np.broadcast_to(words[:1], words.shape)) if size else True
    values = np.frombuffer(data, np.uint8)
    return _are_equal(values[item:], values[: max(0, size - item)])


def _are_equal(values: np.ndarray, others: np.ndarray) -> bool:
    """Whether two runs are the same: of most that are not, the beginning tells."""
    at, step = 0, _FIRST_LOOK // values.itemsize
    while at < len(values):
        if not np.equal(values[at : at + step], others[at : at + step]).all():
            return False
        at += step
        step = _LOOK // values.itemsize
    return True
