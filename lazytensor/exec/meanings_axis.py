"""The meaning, on whole NumPy arrays, of nodes along one axis and of those that look values up.

Written with NumPy's functions for the same, not with the kernels, so that engines have something
to be compared with. Cumulative operations are the exception: in which groups floats are added up
is part of what they are.
"""

from __future__ import annotations

import numpy as np

from lazytensor.exec.kernels.axis import take_along_into
from lazytensor.plan.nodes_axis import BlockTotals, Cumulate, Gather, Lookup, Search, Sort
from lazytensor.plan.ops_scan import CUMULATIONS
from lazytensor.plan.promote import is_extended

__all__ = ["block_totals", "cumulate", "gather", "lookup", "search", "sort"]


def cumulate(node: Cumulate, inputs: list[np.ndarray]) -> np.ndarray:
    """Block after block, each with what stands before it."""
    row, axis = CUMULATIONS[node.op], node.axis
    if node.carries is None:
        return row.accumulate(inputs[0], axis, node.to)
    x, carries = inputs
    cuts = range(node.block, x.shape[axis], node.block)
    before = [None, *np.split(carries, range(1, carries.shape[axis]), axis=axis)]
    stretches = np.split(x, cuts, axis=axis)
    parts = [
        row.accumulate(stretch, axis, node.to, before=carry)
        for stretch, carry in zip(stretches, before, strict=False)
    ]
    # With out, as NumPy would forget the byte order.
    return np.concatenate(parts, axis=axis, out=np.empty(node.shape, node.dtype))


def block_totals(node: BlockTotals, inputs: list[np.ndarray]) -> np.ndarray:
    """The last value of every block."""
    out = np.empty(node.shape, node.dtype)
    CUMULATIONS[node.op].totals(inputs[0], node.axis, node.to, node.block, out)
    return out


def sort(node: Sort, inputs: list[np.ndarray]) -> np.ndarray:
    """Descending: the order of the reversed values, reversed, so that ties stay in theirs."""
    x, axis = inputs[0], node.axis
    order = np.argsort(_keys(np.flip(x, axis) if node.descending else x), axis=axis, kind="stable")
    if node.descending:
        order = np.flip(x.shape[axis] - 1 - order, axis)
    return order if node.indices else np.take_along_axis(x, order, axis)


def _keys(x: np.ndarray) -> np.ndarray:
    """What NumPy sorts as it should; of ml_dtypes' floats it mixes up NaN."""
    return x.astype(np.float32) if is_extended(x.dtype) else x


def gather(node: Gather, inputs: list[np.ndarray]) -> np.ndarray:
    """``numpy.take_along_axis`` with the error that names the index."""
    out = np.empty(node.shape, node.dtype)
    x, indices = inputs
    name = node.x.domain.labels[node.axis]
    shown = f"dim {name!r}" if name else f"axis {node.axis}"
    take_along_into(x, indices, node.axis, x.shape[node.axis], shown, out)
    return out


def lookup(node: Lookup, inputs: list[np.ndarray]) -> np.ndarray:
    """The table indexed with the bit patterns."""
    table, x = inputs
    native = np.ascontiguousarray(x.astype(x.dtype.newbyteorder("=")))
    found: np.ndarray = table[native.view(f"u{x.dtype.itemsize}").reshape(x.shape)]
    return found


def search(node: Search, inputs: list[np.ndarray]) -> np.ndarray:
    """``numpy.searchsorted``, or ``numpy.isin``."""
    table, x = inputs
    if node.op == "member":
        return np.asarray(np.isin(x, table)) if table.size else np.zeros(x.shape, bool)
    return np.asarray(np.searchsorted(table, x, side=node.op))  # type: ignore[call-overload]
