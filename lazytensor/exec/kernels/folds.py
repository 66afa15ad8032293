"""Compiled folds: partial states of reductions from values that are in the cache.

A *fold* adds values up into *cells*, 8 bytes for each position that is kept and each total. One
fold has all totals that the members of a pass need, so that one look at the values serves them all:
a mean and a deviation of 16-bit integers are a sum and a sum of squares, both exact. What totals
there are is said in ``folds_text``, how they are computed in ``native.kernels.folds``; here are the
cells, and the consumers that fill them. All of it is exact: sums of floats are
``exec.kernels.lanes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.kernels.choice import compiled
from lazytensor.exec.kernels.consumer import CompiledConsumer
from lazytensor.exec.kernels.folds_text import NAMES, tally_text, totals_text
from lazytensor.native import Kernel
from lazytensor.native.kernels import fold_block as block

__all__ = [
    "Before",
    "Cells",
    "Fold",
    "each_of",
    "fold_name",
    "tally_fold",
    "totals_fold",
]

_LARGEST = 2**63 - 1

_FIRST = {
    "sum": 0,
    "squares": 0,
    "least": _LARGEST,
    "greatest": -_LARGEST - 1,
    "finite_least": _LARGEST,
    "finite_greatest": -_LARGEST - 1,
    "nonzero": 0,
}
"""What the cells of each total hold before any value."""


class Before(NamedTuple):
    """A compiled map of the values before they are folded: addresses of its code and constants,
    bytes of a value that it takes, and whatever holds that memory."""

    function: int
    constants: int
    itemsize: int
    keep: object = None


class Fold(NamedTuple):
    """Compiled code that fills cells: totals, or with ``table`` a table of so many counts for each
    position."""

    kernel: Kernel
    dtype: np.dtype
    names: tuple[str, ...]
    table: int = 0

    @property
    def buffer_nbytes(self) -> int:
        """Memory that a thread lends it."""
        columns = 0 if self.table else len(self.names)
        return block.COLUMNS + columns * 8 * block.WIDTH

    def cells(self, kept: tuple[int, ...]) -> Cells:
        """Cells for a block; ``kept`` is its shape with 1 along reduced dims."""
        return Cells(self, kept)


def fold_name(dtype: np.dtype) -> str | None:
    """How texts call a dtype; None if there are no folds of it.

    >>> fold_name(np.dtype("u2")), fold_name(np.dtype(">u2")), fold_name(np.dtype("c8"))
    ('u2', None, None)
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or not dtype.isnative:
        return None
    return f"{dtype.kind}{dtype.itemsize}"


def totals_fold(dtype: np.dtype, names: Sequence[str], *, rows: bool, saves: float) -> Fold | None:
    """The fold of some totals, if its code is to be used and there (``choice.compiled``).

    ``rows``: whether the innermost dim of what is folded is kept. ``saves``: seconds.
    """
    kind = fold_name(dtype)
    if kind is None:
        return None
    ordered = tuple([name for name in NAMES if name in names])
    text = totals_text(kind, ordered, rows=rows)
    kernel = compiled(f"fold_{kind}_{'rows' if rows else 'runs'}", text, saves)
    return None if kernel is None else Fold(kernel, dtype, ordered)


def tally_fold(dtype: np.dtype, size: int, *, saves: float) -> Fold | None:
    """The fold that counts leading digits (``order.digits``, level 0), ``size`` of them."""
    kind = fold_name(dtype)
    if kind is None:
        return None
    kernel = compiled(f"tally_{kind}", tally_text(kind), saves)
    return None if kernel is None else Fold(kernel, dtype, (), size)


class Cells:
    """The cells of one block."""

    def __init__(self, fold: Fold, kept: tuple[int, ...]) -> None:
        self.fold = fold
        if fold.table:
            self.counts = np.zeros((*kept, fold.table), np.uint32)
            return
        self._planes = np.empty((len(fold.names), *kept), np.int64)
        for i, name in enumerate(fold.names):
            self._planes[i, ...] = _FIRST[name]

    def consumer(
        self, shape: tuple[int, ...], turn: Any = None, before: Before | None = None
    ) -> CompiledConsumer:
        """What fills them from a block of this shape.

        ``turn``: makes, of an array like the block, that with the dims of what is read.
        """
        fold = self.fold
        plane = self.counts[..., 0] if fold.table else self._planes[0, ...]
        spread = np.broadcast_to(plane, shape)
        strides = [0 if n == 1 else s for n, s in zip(plane.shape, spread.strides, strict=True)]
        target = np.lib.stride_tricks.as_strided(plane, shape, strides)
        if turn is not None:
            target = turn(target)
        words = np.zeros(block.FOLD_WORDS, np.int64)
        words[block.PLANE] = plane.nbytes
        words[block.RAW_ITEM] = fold.dtype.itemsize if before is None else before.itemsize
        if before is not None:
            words[block.PRE], words[block.PRE_CONSTANTS] = before.function, before.constants
        return CompiledConsumer(
            fold.kernel,
            words,
            target,
            target.strides,
            buffer_nbytes=fold.buffer_nbytes,
            keep=(self, before),
        )

    def words(self, name: str) -> np.ndarray:
        """The cells of a total, int64."""
        plane: np.ndarray = self._planes[self.fold.names.index(name), ...]
        return plane

    def extremes(self, name: str) -> np.ndarray:
        """The values whose keys were found least or greatest (``native.kernels.fold_lanes``)."""
        words, dtype = self.words(name), self.fold.dtype
        if dtype.kind == "f":
            integer = np.dtype(f"i{dtype.itemsize}")
            bits = words.astype(integer)
            turned = (bits >> (8 * dtype.itemsize - 1)).view(f"u{dtype.itemsize}") >> 1
            values: np.ndarray = (bits ^ turned.view(integer)).view(dtype)
            return values
        if dtype == np.uint64:
            words = words ^ np.int64(-_LARGEST - 1)
        return words.astype(dtype)


def each_of(
    consumers: Sequence[CompiledConsumer], kernel: Kernel | None
) -> CompiledConsumer | None:
    """One consumer in the place of several; None without the code for it, ``fold_each``."""
    if len(consumers) == 1:
        return consumers[0]
    if kernel is None:
        return None
    first = consumers[0]
    strides = [np.array(one.strides or (0,), np.int64) for one in consumers]
    words = np.zeros(1 + block.EACH_WORDS * len(consumers), np.int64)
    words[block.EACH_COUNT] = len(consumers)
    rows = words[1:].reshape(-1, block.EACH_WORDS)
    for row, one, steps in zip(rows, consumers, strides, strict=True):
        row[block.EACH_FUNCTION], row[block.EACH_PARAMETERS] = one.function, one.parameters
        row[block.EACH_TARGET] = one.target
        row[block.EACH_STRIDES] = steps.__array_interface__["data"][0]
    return CompiledConsumer(
        kernel,
        words,
        np.zeros(1, np.int64),
        (0,) * len(first.strides),
        buffer_nbytes=max([one.buffer_nbytes for one in consumers]),
        keep=(consumers, strides),
    )
