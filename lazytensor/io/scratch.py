"""Reusable memory of one thread.

Reading a chunk needs room for its encoded bytes and often for its decoded ones. Allocating that
anew for every chunk costs more than decoding it (the pages have to be faulted in), so each thread
keeps a few buffers, the slots, and hands out the front of them. A view of a slot is valid until
the same thread takes that slot again.
"""

from __future__ import annotations

import threading

import numpy as np

__all__ = ["ENCODED", "KEPT_BYTES", "STAGE_A", "STAGE_B", "Scratch", "thread_scratch"]

ENCODED, STAGE_A, STAGE_B = 0, 1, 2
KEPT_BYTES = 64 << 20
"""Larger buffers are allocated for one use and given back."""

_SMALLEST = 1 << 16


class Scratch:
    """A few growing byte buffers, taken by slot number.

    >>> view = Scratch().take(STAGE_A, 10)
    >>> len(view), view.readonly
    (10, False)
    """

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        empty = memoryview(bytearray(0))
        self._slots = [empty, empty, empty]

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


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.scratch = Scratch()


_per_thread = _PerThread()


def thread_scratch() -> Scratch:
    """The calling thread's scratch.

    >>> thread_scratch() is thread_scratch()
    True
    """
    return _per_thread.scratch
