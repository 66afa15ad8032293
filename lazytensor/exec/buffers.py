"""Memory for results and scratch.

Results are 64-byte aligned, so that vector code and DLPack consumers take them as they are.
Scratch blocks are recycled within a thread: a fresh block of some MiB costs more in page faults
than most kernels that fill it.
"""

from __future__ import annotations

import math

import numpy as np

from lazytensor.native.addresses import address_of_words

__all__ = ["Scratch", "aligned_empty", "size_class"]

_ALIGN = 64
_IDLE_LIMIT = 128 << 20
_SMALL = 1 << 20
"""Blocks of so many bytes are kept whatever is needed of them."""


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uninitialised C-contiguous array whose data starts at a multiple of 64 bytes.

    >>> aligned_empty((3, 5), np.dtype("f4")).ctypes.data % 64
    0
    """
    if dtype.hasobject or dtype.kind == "T":
        return np.zeros(shape, dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes == 0:
        return np.empty(shape, dtype)
    raw = np.empty(nbytes + _ALIGN, np.uint8)
    return np.ndarray(shape, dtype, raw, -address_of_words(raw) % _ALIGN)


def _block(nbytes: int) -> np.ndarray:
    raw = np.empty(nbytes + _ALIGN, np.uint8)
    start = -address_of_words(raw) % _ALIGN
    return raw[start : start + nbytes]


def _shaped(block: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes == 0:
        return np.empty(shape, dtype)
    return block[:nbytes].view(dtype).reshape(shape)


class Scratch:
    """Recycled blocks of one thread."""

    __slots__ = ("_idle", "_idle_bytes", "_lent", "_lent_bytes", "_most")

    def __init__(self) -> None:
        self._lent_bytes = 0
        self._most = _SMALL
        self._idle: dict[int, list[np.ndarray]] = {}
        self._idle_bytes = 0
        self._lent: dict[int, np.ndarray] = {}

    def expect(self, nbytes: int) -> None:
        """A program is run that takes no more than so many bytes.

        Beyond the most of any, blocks nobody uses are let go before a new one is made: those of a
        task at the edge have sizes of their own, and would be kept beside those of all others.
        """
        self._most = max(self._most, nbytes + nbytes // 8)

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Uninitialised C-contiguous array of this shape."""
        if dtype.hasobject or dtype.kind == "T":
            return np.zeros(shape, dtype)
        size = size_class(math.prod(shape) * dtype.itemsize)
        idle = self._idle.get(size)
        if idle:
            block = idle.pop()
            self._idle_bytes -= size
        else:
            while self._idle_bytes and self._idle_bytes + self._lent_bytes + size > self._most:
                self._drop()
            block = _block(size)
        out = _shaped(block, shape, dtype)
        self._lent[id(out)] = block
        self._lent_bytes += size
        return out

    def _drop(self) -> None:
        """Let go of a largest idle block."""
        size = max(size for size, blocks in self._idle.items() if blocks)
        self._idle[size].pop()
        self._idle_bytes -= size

    def give(self, array: np.ndarray) -> None:
        """Take back an array of ``take`` that nobody uses any more; others are ignored."""
        block = self._lent.pop(id(array), None)
        if block is None:
            return
        self._lent_bytes -= block.nbytes
        if self._idle_bytes + block.nbytes > _IDLE_LIMIT:
            return
        self._idle.setdefault(block.nbytes, []).append(block)
        self._idle_bytes += block.nbytes

    def keep(self, array: np.ndarray) -> None:
        """Forget an array that left for good: its block is never recycled."""
        block = self._lent.pop(id(array), None)
        if block is not None:
            self._lent_bytes -= block.nbytes


def size_class(nbytes: int) -> int:
    """Round up to a sixteenth of the power of two above: few classes, little waste."""
    if nbytes <= 4096:
        return 4096
    step = 1 << max(12, nbytes.bit_length() - 4)
    return -(-nbytes // step) * step
