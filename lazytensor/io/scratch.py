"""Reusable memory of one thread.

Reading a chunk needs room for its encoded bytes and often for its decoded ones. Allocating that
anew for every chunk costs more than decoding it (the pages have to be faulted in), so each thread
keeps a few buffers, the slots, and hands out the front of them. A view of a slot is valid until
the same thread takes that slot again.
"""

from __future__ import annotations

import threading

import numpy as np

from lazytensor.native.addresses import address_of_bytes

__all__ = [
    "ENCODED", "KEPT_BYTES", "STAGE_A", "STAGE_B", "STAGE_ROW",
    "Arena", "Scratch", "thread_arena", "thread_scratch",
]  # fmt: skip

ENCODED, STAGE_A, STAGE_B, STAGE_ROW = 0, 1, 2, 3
KEPT_BYTES = 64 << 20
"""Larger buffers are allocated for one use and given back."""

_SMALLEST = 1 << 16
_ALIGN = 64
_ARENA = 1 << 20


class Scratch:
    """A few growing byte buffers, taken by slot number.

    >>> view = Scratch().take(STAGE_A, 10)
    >>> len(view), view.readonly
    (10, False)
    """

    __slots__ = ("_places", "_slots")

    def __init__(self) -> None:
        empty = memoryview(bytearray(0))
        self._slots = [empty] * 4
        self._places: list[tuple[memoryview | None, int]] = [(None, 0)] * 4

    def take(self, slot: int, nbytes: int) -> memoryview:
        """``nbytes`` writable bytes of unspecified content."""
        kept = self._slots[slot]
        if nbytes <= len(kept):
            return kept[:nbytes]
        if nbytes > KEPT_BYTES:
            return np.empty(nbytes, np.uint8).data
        size = max(_SMALLEST, 1 << (nbytes - 1).bit_length())
        self._slots[slot] = grown = np.empty(size, np.uint8).data
        return grown[:nbytes]

    def place(self, slot: int, nbytes: int) -> tuple[memoryview, int]:
        """Memory of ``nbytes`` (at most ``KEPT_BYTES``) for compiled code, and its address.

        It is to be held as long as the address is used: a finalizer may run between any two lines,
        read something in this very thread, and put larger memory in its place.
        """
        if nbytes > KEPT_BYTES:
            raise ValueError(f"{nbytes} bytes are not kept; at most {KEPT_BYTES} are")
        if nbytes > len(self._slots[slot]):
            self.take(slot, nbytes)
        kept = self._slots[slot]
        owner, address = self._places[slot]
        if owner is not kept:
            address = address_of_bytes(kept)
            self._places[slot] = kept, address
        return kept, address


class Arena(Scratch):
    """Scratch for several buffers at once: each is valid until ``reset``.

    >>> arena = Arena()
    >>> first, second = arena.take(ENCODED, 10), arena.take(ENCODED, 20)
    >>> first[:] = bytes(10); second[:] = b"x" * 20; bytes(first) == bytes(10)
    True
    """

    __slots__ = ("_used",)

    def __init__(self) -> None:
        super().__init__()
        self._used = 0

    def reset(self) -> None:
        """All that was taken may be overwritten."""
        self._used = 0

    def take(self, slot: int, nbytes: int) -> memoryview:
        """``nbytes`` writable bytes of unspecified content, apart from all others taken."""
        start = self._used
        if start and start + nbytes > len(self._slots[slot]):
            return np.empty(nbytes, np.uint8).data
        self._used = -(-(start + nbytes) // _ALIGN) * _ALIGN
        if not start:
            return super().take(slot, max(nbytes, _ARENA))[:nbytes]
        return super().take(slot, start + nbytes)[start:]


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.scratch = Scratch()
        self.arena = Arena()


_per_thread = _PerThread()


def thread_scratch() -> Scratch:
    """The calling thread's scratch.

    >>> thread_scratch() is thread_scratch()
    True
    """
    return _per_thread.scratch


def thread_arena() -> Arena:
    """The calling thread's arena, as its last user left it."""
    return _per_thread.arena
