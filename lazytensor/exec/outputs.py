"""Memory of results, used again once nobody has it any more.

A large result that is written for the first time costs more in page faults than the reading and
decoding that fills it. So blocks that results were given are remembered, and one that nobody holds
is the memory of the next result of about its size.

Nobody has to give anything back, and nothing runs when a result is deleted. A result is a view of
its block, and so is, through any chain of owners, whatever NumPy, a memoryview, DLPack, torch or
Arrow makes of it; each holds the block by a reference. A block with no reference but ours is free:
that is looked at when the next result is asked for. (A finalizer would run in any thread, inside
the collector, in forked children and at exit, and swallow a Ctrl-C that strikes then.)

Remembered are blocks of at most an eighth of what the process may use, and of at most 1 GiB, in use
or not; the one that was handed out longest ago is forgotten first, and freed when its holder lets
go of it, as any array. Blocks that nobody used for some seconds are freed by a thread that has no
other work (``exec.crew``), or with the next result; ``release`` frees all of them at once. None of
it counts as memory of a run, but runs with a ``max_memory`` below these bounds keep no more than
that.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import weakref
from functools import cache
from typing import NamedTuple

import numpy as np

from lazytensor.errors import MemoryLimitError
from lazytensor.exec.buffers import aligned_empty, size_class
from lazytensor.exec.crew import when_idle
from lazytensor.exec.memory import available_memory
from lazytensor.native.addresses import address_of_words
from lazytensor.plan.cost import format_bytes
from lazytensor.plan.counters import count

__all__ = ["SMALLEST", "idle_bytes", "output", "release", "trim_to"]

SMALLEST = 1 << 20
"""Bytes from which on a result is worth it: the allocator of C recycles less by itself."""

_MOST = 1 << 30
_SHARE = 8
_ALIKE = 32
"""Blocks of one size that are remembered, so that a look at all of them takes no time."""
_SECONDS = 10.0
_ALIGN = 64


class _Block(NamedTuple):
    """Memory, at which offset it is aligned, and when it was handed out (a serial number)."""

    raw: np.ndarray
    offset: int
    size: int


class _Outputs:
    """All blocks that are remembered, by their size, in the order of their last use."""

    def __init__(self) -> None:
        # Whatever runs inside the guarded parts (a collector, and then any code) may come here
        # again: it finds the pool busy and does without.
        self.lock = threading.RLock()
        self._busy = False
        self._alike: dict[int, dict[int, _Block]] = {}
        self._bytes = 0
        self._serial = 0
        self._used = time.monotonic()

    def take(self, nbytes: int) -> _Block | None:
        """A free block of at least so many bytes, if there is one; all others go after a while."""
        with self.lock:
            if self._busy:
                return None
            self._busy = True
            try:
                unused = time.monotonic() - self._used > _SECONDS
                block = self._take(size_class(nbytes))
                if unused:
                    self._trim(0 if block is None else block.size)
                return block
            finally:
                self._busy = False

    def remember(self, block: _Block, most: int) -> None:
        """A block that was made, and is in use."""
        with self.lock:
            if self._busy or block.size > most:
                return
            self._busy = True
            try:
                self._add(block)
                self._trim(most)
            finally:
                self._busy = False

    def trim(self, most: int, unused_for: float = 0.0) -> None:
        """Forget blocks beyond so many bytes, if none was asked for in the last seconds."""
        with self.lock:
            if self._busy or time.monotonic() - self._used < unused_for:
                return
            self._busy = True
            try:
                self._trim(most)
            finally:
                self._busy = False

    def idle(self) -> int:
        """Bytes of blocks that nobody has."""
        with self.lock:
            blocks = [block for alike in self._alike.values() for block in alike.values()]
            return sum(block.size for block in blocks if _is_free(block))

    def is_empty(self) -> bool:
        return not self._bytes

    def _take(self, size: int) -> _Block | None:
        self._used = time.monotonic()
        alike = self._alike.get(size, {})
        # The one that was used last is the likeliest to be in a cache.
        for serial in reversed(alike):
            if _is_free(alike[serial]):
                block = alike.pop(serial)
                self._bytes -= size
                self._add(block)
                return block
        return None

    def _add(self, block: _Block) -> None:
        self._serial += 1
        alike = self._alike.setdefault(block.size, {})
        alike[self._serial] = block
        self._bytes += block.size
        if len(alike) > _ALIKE:
            self._forget(block.size)

    def _trim(self, most: int) -> None:
        while self._bytes > most:
            self._forget(min(self._alike, key=lambda size: next(iter(self._alike[size]))))

    def _forget(self, size: int) -> None:
        """The oldest block of a size."""
        alike = self._alike[size]
        del alike[next(iter(alike))]
        self._bytes -= size
        if not alike:
            del self._alike[size]


def _is_free(block: _Block) -> bool:
    """Whether nobody but its entry has the memory. (A weak reference can be made a strong one.)"""
    return _references(block) == _OURS and not weakref.getweakrefcount(block.raw)


def _references(block: _Block) -> int:
    return sys.getrefcount(block.raw)


_OURS = _references(_Block(np.empty(0, np.uint8), 0, 0))
"""References to the memory of a block that nobody has: its own and, as interpreters count, some."""

_outputs = _Outputs()


def output(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uninitialised C-contiguous array for a result, at a multiple of 64 bytes.

    ``lt.metrics()`` counts as ``outputs_recycled`` those that are memory of former results.

    >>> array = output((600, 600), np.dtype("f8"))
    >>> where = array.ctypes.data
    >>> del array; output((600, 600), np.dtype("f8")).ctypes.data == where
    True
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < SMALLEST or dtype.hasobject or dtype.kind == "T":
        return aligned_empty(shape, dtype)
    block = _outputs.take(nbytes)
    if block is not None:
        count("outputs_recycled")
        return np.ndarray(shape, dtype, block.raw, block.offset)
    block = _new(size_class(nbytes))
    result = np.ndarray(shape, dtype, block.raw, block.offset)
    _outputs.remember(block, _most())
    return result


def _new(size: int) -> _Block:
    raw = _memory(size + _ALIGN)
    if raw is None:
        release()
        raw = _memory(size + _ALIGN)
    if raw is None:
        raise MemoryLimitError(
            f"a result of {format_bytes(size)} is more than there is memory for; collect a part of "
            f"it, or what is made of it"
        )
    return _Block(raw, -address_of_words(raw) % _ALIGN, size)


def _memory(size: int) -> np.ndarray | None:
    """So many bytes, or None."""
    try:
        return np.empty(min(size, sys.maxsize), np.uint8)
    except MemoryError:
        return None


def release() -> None:
    """Free all memory that is kept for coming results. What anybody has stays as it is."""
    _outputs.trim(0)


def trim_to(limit: int) -> None:
    """Remember no more than so many bytes from now on: what a run of that limit may have."""
    if limit < _MOST:
        _outputs.trim(limit)


def idle_bytes() -> int:
    """Bytes that are kept for coming results and in nobody's use.

    >>> release(); idle_bytes()
    0
    """
    return _outputs.idle()


@cache
def _most() -> int:
    return min(_MOST, available_memory() // _SHARE)


def _rest() -> bool:
    """What a thread does that has no other work: free what nobody asked for; is there more?"""
    _outputs.trim(0, _SECONDS)
    return not _outputs.is_empty()


def _after_fork() -> None:
    """A child begins with no blocks: writing to those of its parent would copy them first."""
    global _outputs
    _outputs = _Outputs()


when_idle(_rest)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
