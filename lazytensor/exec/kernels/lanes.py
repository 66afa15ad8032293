"""Sums and spreads of floats in lanes: the compiled twin of ``plan.ops_lanes``, and its cells.

Both fill the same *slots* with the same bits, so whoever asks need not know which of them did. The
compiled one is a consumer: a read can feed it, cell by cell and in any order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lazytensor.exec.kernels.choice import compiled
from lazytensor.exec.kernels.consumer import CompiledConsumer
from lazytensor.exec.kernels.folds import Before, fold_name
from lazytensor.native import Kernel
from lazytensor.native.kernels import fold_block as block
from lazytensor.plan.ops_lanes import Lanes, spreads, sums

__all__ = ["LaneFold", "Slots", "filled", "lane_fold", "lane_text"]

_TEXT = """\
from lazytensor.native.kernels.lanes import lanes_kernel

kernel = lanes_kernel({dtype!r}, spread={spread!r})
"""


class Slots(NamedTuple):
    """What went into the slots of a block: sums, and, if they were wanted, means and squares of
    deviations; ``rows`` as of ``Lanes``. Dims are those of the lanes."""

    rows: np.ndarray
    sums: np.ndarray
    means: np.ndarray | None = None
    squares: np.ndarray | None = None


class LaneFold(NamedTuple):
    """Compiled code that fills slots."""

    kernel: Kernel
    dtype: np.dtype
    spread: bool

    def cells(self, lanes: Lanes) -> LaneCells:
        """Empty slots for a block."""
        return LaneCells(self, lanes)


def lane_text(dtype: str, *, spread: bool) -> str:
    """The source of a fold into lanes.

    >>> print(lane_text("f4", spread=False))
    from lazytensor.native.kernels.lanes import lanes_kernel
    <BLANKLINE>
    kernel = lanes_kernel('f4', spread=False)
    <BLANKLINE>
    """
    return _TEXT.format(dtype=dtype, spread=spread)


def lane_fold(dtype: np.dtype, *, spread: bool, saves: float) -> LaneFold | None:
    """The fold of a dtype, if its code is to be used and there (``choice.compiled``)."""
    kind = fold_name(dtype)
    if kind is None:
        return None
    name = f"lanes_{kind}_{'spread' if spread else 'sums'}"
    kernel = compiled(name, lane_text(kind, spread=spread), saves)
    return None if kernel is None else LaneFold(kernel, dtype, spread)


class LaneCells:
    """The slots of one block, for compiled code to fill."""

    def __init__(self, fold: LaneFold, lanes: Lanes) -> None:
        self._fold = fold
        self._lanes = lanes
        # Sums, counts (of integers), means, squares.
        self._planes = np.zeros((4 if fold.spread else 1, *lanes.slots))

    def consumer(self, before: Before | None = None) -> CompiledConsumer:
        """What fills them."""
        fold, lanes, plane = self._fold, self._lanes, self._planes[0]
        strides = [0 if d in lanes.leads else s for d, s in enumerate(plane.strides)]
        slots = [
            np.repeat(np.arange(len(edges) - 1), np.diff(edges)) * step if edges else None
            for edges, step in zip(lanes.edges, plane.strides, strict=True)
        ]
        addresses = np.array(
            [0 if one is None else one.__array_interface__["data"][0] for one in slots], np.int64
        )
        words = np.zeros(block.FOLD_WORDS, np.int64)
        words[block.PLANE] = plane.nbytes
        words[block.RAW_ITEM] = fold.dtype.itemsize if before is None else before.itemsize
        words[block.SLOTS] = addresses.__array_interface__["data"][0]
        words[block.FIRST_LANE] = lanes.first
        if before is not None:
            words[block.PRE], words[block.PRE_CONSTANTS] = before.function, before.constants
        levels = 4 * len(lanes.leads) + 1
        return CompiledConsumer(
            fold.kernel,
            words,
            plane,
            strides,
            buffer_nbytes=block.COLUMNS + 8 * block.WIDTH * levels,
            keep=(self, before, slots, addresses),
        )

    def slots(self) -> Slots:
        """What they hold."""
        planes, rows = self._planes, self._lanes.rows
        return Slots(rows, planes[0], *planes[2:]) if self._fold.spread else Slots(rows, planes[0])


def filled(block: np.ndarray, lanes: Lanes, *, spread: bool) -> Slots:
    """The same of a block in memory, by NumPy."""
    with np.errstate(all="ignore"):
        total = sums(block, lanes)
        if not spread:
            return Slots(lanes.rows, total)
        return Slots(lanes.rows, total, *spreads(block, lanes, total))
