"""Compiled expressions at work: as consumers of reads, and as the first part of other consumers.

An expression becomes a *map*, a kernel over consecutive elements (``kernels.codegen``); the
consumer ``native.kernels.apply`` drives it over boxes of any strides. Windows and folds call maps
themselves. Everything here answers None where there is no compiled code, now or ever: then
``expression.evaluate`` does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.exec.kernels.choice import compiled
from lazytensor.exec.kernels.codegen import CONSTANT_NBYTES, source_of
from lazytensor.exec.kernels.consumer import CompiledConsumer, address_of_kernel
from lazytensor.exec.kernels.expression import Expression
from lazytensor.native import Kernel
from lazytensor.native.addresses import address_of
from lazytensor.native.kernels import apply_block as words
from lazytensor.native.kernels.chunk_block import MOST_RANK

__all__ = ["CompiledMap", "compiled_map", "consumer_of", "map_consumer", "run_size"]

_RUN_NBYTES = 16 << 10
"""Of each operand in a run: together with its copies it stays in the innermost caches."""


class CompiledMap(NamedTuple):
    """A compiled expression of one array operand, as others call it.

    ``function``: its address; ``constants``: that of its constants. ``keep`` is what both point
    into.
    """

    function: int
    constants: int
    keep: object


def compiled_map(expr: Expression, constants: Sequence[bytes], saves: float) -> CompiledMap | None:
    """The map of an expression of one array operand; None without compiled code.

    ``saves``: seconds that compiled code would save the caller this time (``choice.compiled``).
    """
    text = source_of(expr)
    run = None if text is None else compiled("fused", text, saves)
    if run is None:
        return None
    room = _room(constants)
    return CompiledMap(address_of_kernel(run), address_of(room), (run, room))


def map_consumer(
    expr: Expression,
    constants: Sequence[bytes],
    others: Sequence[np.ndarray],
    target: np.ndarray,
    *,
    streamed: bool = False,
    saves: float,
) -> CompiledConsumer | None:
    """A consumer that computes an expression of what is read; None without compiled code.

    Parameters
    ----------
    expr, constants
        The expression, whose first array operand is what is read, and the bytes of its constants.
    others
        The other array operands. Each broadcasts to the box that is read.
    target
        Where results go: one for each element of the box, in the order of its dims, any strides.
        It shares no memory with an operand, unless it is the operand, element for element.
    streamed
        Whether results may be written around the caches.
    saves
        Seconds that compiled code would save the caller this time.
    """
    if target.ndim > MOST_RANK:
        return None
    text = source_of(expr)
    if text is None:
        return None
    apply, mapped = compiled("apply", None, saves), compiled("fused", text, saves)
    if apply is None or mapped is None:
        return None
    return consumer_of(apply, mapped, expr, constants, others, target, streamed=streamed)


def consumer_of(
    apply: Kernel,
    mapped: Kernel,
    expr: Expression,
    constants: Sequence[bytes],
    others: Sequence[np.ndarray],
    target: np.ndarray,
    *,
    streamed: bool = False,
) -> CompiledConsumer:
    """The consumer of ``map_consumer``, of the kernel that drives and the map that is driven."""
    dtypes = (expr.dtype, *expr.arrays)
    run = run_size(dtypes)
    room = _room(constants)
    block = np.zeros(words.FIRST_OTHER + words.OTHER_WORDS * len(others), np.int64)
    block[words.MAP] = address_of_kernel(mapped)
    block[words.CONSTANTS] = address_of(room)
    block[words.SOURCE_ITEM] = expr.arrays[0].itemsize
    block[words.RESULT_ITEM] = expr.dtype.itemsize
    block[words.RUN] = run
    block[words.OTHERS] = len(others)
    seen = [np.broadcast_to(other, target.shape) for other in others]
    strides = np.array([other.strides for other in seen], np.int64)
    for k, other in enumerate(seen):
        at = words.FIRST_OTHER + words.OTHER_WORDS * k
        table = address_of(strides) + 8 * target.ndim * k
        block[at : at + words.OTHER_WORDS] = address_of(other), other.itemsize, table
    copies = sum(-(-run * dtype.itemsize // words.LINE) * words.LINE for dtype in dtypes)
    return CompiledConsumer(
        apply,
        block,
        target,
        target.strides,
        buffer_nbytes=words.table_nbytes(len(dtypes)) + copies,
        streamed=streamed,
        keep=(mapped, room, seen, strides),
    )


def run_size(dtypes: Sequence[np.dtype]) -> int:
    """Elements to map at a time: a whole number of cache lines of each."""
    return _RUN_NBYTES // max(dtype.itemsize for dtype in dtypes)


def _room(constants: Sequence[bytes]) -> np.ndarray:
    """Constants as maps take them."""
    data = b"".join(value.ljust(CONSTANT_NBYTES, b"\0") for value in constants)
    return np.frombuffer(data or bytes(CONSTANT_NBYTES), np.uint8)
