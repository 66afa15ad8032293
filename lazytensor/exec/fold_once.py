"""A reduction of one block in memory, as a step of a program.

Reductions that blocks of a result are better off doing for themselves (``exec.stages``) have no
pass of their own, whose blocks are folded by compiled code. NumPy goes along short rows one by one,
which takes ten times as long; so such a block is folded here. What is folded is exact: nobody sees
which of them did it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lazytensor.exec.fold_states import Wanted, wanted_totals
from lazytensor.exec.folding import FEWEST, MOST
from lazytensor.exec.kernels.folds import totals_fold
from lazytensor.plan.ops import SUMMARIES

__all__ = ["folded"]

_SAVED_SECONDS = 1e-9
"""What NumPy takes for an element of a short row that compiled code does without."""

_OPS = frozenset({"min", "max", "finite_min", "finite_max"})


def folded(
    block: np.ndarray, op: str, axes: tuple[int, ...], *, keepdims: bool, params: Mapping[str, Any]
) -> np.ndarray | None:
    """The reduction of a block of floats whose innermost values belong together; else None.

    >>> folded(np.ones((2, 3), np.float32), "min", (1,), keepdims=False, params={}) is None
    True
    """
    if op not in _OPS or block.dtype.kind != "f" or not FEWEST < block.size < MOST:
        return None
    if block.ndim - 1 not in axes or not block.flags.c_contiguous:
        return None
    wanted = wanted_totals(op, block.dtype, params)
    if not isinstance(wanted, Wanted):
        return None
    saved = _SAVED_SECONDS * block.size
    fold = totals_fold(block.dtype, wanted.names, rows=False, saves=saved)
    if fold is None:
        return None
    cells = fold.cells(tuple([1 if d in axes else n for d, n in enumerate(block.shape)]))
    cells.consumer(block.shape).take(block, (0,) * block.ndim)
    count = math.prod([block.shape[d] for d in axes])
    state = wanted.state(cells, count, ())
    values = SUMMARIES[op].finish(state, dtype=block.dtype, count=count, params=params)
    if keepdims:
        return values
    return values.reshape([n for d, n in enumerate(block.shape) if d not in axes])
