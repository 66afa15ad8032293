"""Compiled consumers: what a read hands its values to, and how an array in memory is handed over.

The compiled function and the block it takes are ``native.kernels.consumer_block``'s; this is the
Python side of it, the same for fused expressions, windows and partial reductions.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import numpy as np

from lazytensor.exec.buffers import aligned_empty
from lazytensor.native import Kernel
from lazytensor.native.addresses import address_of, address_of_words
from lazytensor.native.kernels import chunk_block
from lazytensor.native.kernels import consumer_block as block

__all__ = ["CompiledConsumer", "address_of_kernel"]

_BYTES = np.dtype(np.uint8)


def address_of_kernel(kernel: Kernel) -> int:
    """Where the machine code of a kernel begins, for other kernels that call it."""
    address = ctypes.cast(kernel, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return address


class _PerThread(threading.local):
    """Memory that one thread lends to consumers; it grows to the most that one asked for."""

    def __init__(self) -> None:
        self.work = np.zeros(chunk_block.WORK_WORDS, np.int64)
        self.buffer = aligned_empty((0,), _BYTES)

    def room(self, nbytes: int) -> np.ndarray:
        if self.buffer.nbytes < nbytes:
            self.buffer = aligned_empty((nbytes,), _BYTES)
        return self.buffer


_per_thread = _PerThread()


class CompiledConsumer:
    """A compiled function with its words and its target (``plan.source.Consumer``).

    ``words``: int64, the consumer's own parameters; whatever they point to goes into ``keep``.
    ``target``: the array of results, of which ``strides`` and ``origin`` (address of the result of
    the first element; by default the array's first) say how the box that is read lies in it.
    """

    __slots__ = (
        "_keep", "_run", "buffer_nbytes", "factors", "function", "parameters", "streamed",
        "strides", "target",
    )  # fmt: skip

    def __init__(
        self,
        run: Kernel,
        words: np.ndarray,
        target: np.ndarray,
        strides: Sequence[int],
        *,
        origin: int | None = None,
        factors: Sequence[int] | None = None,
        buffer_nbytes: int = 0,
        streamed: bool = False,
        keep: object = None,
    ) -> None:
        self._run = run
        self._keep = words, target, keep
        self.function = address_of_kernel(run)
        self.parameters = address_of_words(words)
        self.buffer_nbytes = buffer_nbytes
        self.target = address_of(target) if origin is None else origin
        self.strides = tuple(strides)
        self.factors = (1,) * len(self.strides) if factors is None else tuple(factors)
        self.streamed = streamed

    def take(self, values: np.ndarray, position: Sequence[int]) -> None:
        """Take one piece, whose first element is at ``position`` (from zero) in the box."""
        mine, rank = _per_thread, values.ndim
        room = mine.room(self.buffer_nbytes)
        table = np.array((*values.shape, *values.strides, *self.strides, *position), np.int64)
        tables = address_of_words(table)
        target = self.target + sum(
            [p // f * s for p, f, s in zip(position, self.factors, self.strides, strict=True)]
        )
        words = np.zeros(block.BLOCK_WORDS, np.int64)
        words[block.SOURCE] = address_of(values)
        words[block.COUNTS] = tables
        words[block.SOURCE_STRIDES] = tables + 8 * rank
        words[block.TARGET] = target
        words[block.TARGET_STRIDES] = tables + 16 * rank
        words[block.RANK] = rank
        words[block.STREAMED] = self.streamed
        words[block.POSITION] = tables + 24 * rank
        words[block.WORK] = address_of_words(mine.work)
        words[block.BUFFER] = address_of_words(room)
        words[block.PARAMETERS] = self.parameters
        self._run(address_of_words(words))
