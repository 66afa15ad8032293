"""Sorting, gathering, looking up and searching on NumPy arrays, a few lanes at a time.

NumPy's own functions copy or convert whole arrays on the way; on parts that stay in the cache they
do so at no cost in memory that a task would have to count.
"""

from __future__ import annotations

import numpy as np

from lazytensor.errors import OutOfBoundsError
from lazytensor.plan.ops_scan import CUMULATIONS, lanes
from lazytensor.plan.promote import is_extended, is_extended_float

__all__ = [
    "block_totals_into",
    "cumulate_into",
    "lookup_into",
    "search_into",
    "sort_into",
    "take_along_into",
]

_AT_ONCE = 1 << 15


def _along(x: np.ndarray, axis: int, lo: int, hi: int) -> np.ndarray:
    part: np.ndarray = x[(*(slice(None),) * axis, slice(lo, hi))]
    return part


def cumulate_into(
    x: np.ndarray,
    carries: np.ndarray | None,
    op: str,
    axis: int,
    to: np.dtype | None,
    block: int,
    first: int,
    skip: int,
    out: np.ndarray,
) -> None:
    """A cumulative operation on the blocks from number ``first`` on, without ``skip`` elements.

    ``carries`` begins with what stands before block ``max(first, 1)``.

    >>> out = np.empty(4, np.int64)
    >>> cumulate_into(np.arange(6), None, "cumulative_sum", 0, None, 0, 0, 2, out)
    >>> out
    array([ 3,  6, 10, 15])
    """
    row = CUMULATIONS[op]
    extent = x.shape[axis]
    size = block or max(1, extent)
    for number in range(-(-extent // size)):
        lo, hi = number * size, min(extent, (number + 1) * size)
        before = None
        if carries is not None and first + number:
            at = number if first else number - 1
            before = _along(carries, axis, at, at + 1)
        if hi > skip:
            stretch, ahead = _along(x, axis, lo, hi), max(0, skip - lo)
            place = _along(out, axis, lo + ahead - skip, hi - skip)
            row.accumulate(stretch, axis, to, out=place, before=before, skip=ahead)


def block_totals_into(
    x: np.ndarray, op: str, axis: int, to: np.dtype | None, size: int, out: np.ndarray
) -> None:
    """Totals of blocks of ``size`` elements along an axis."""
    CUMULATIONS[op].totals(x, axis, to, size, out)


def _comparable(x: np.ndarray) -> np.ndarray:
    """The formats of ml_dtypes as ones that hold all their values and that NumPy sorts right."""
    if not is_extended(x.dtype):
        return x
    return x.astype(np.float32 if is_extended_float(x.dtype) else np.int8)


def sort_into(
    x: np.ndarray,
    axis: int,
    descending: bool,
    indices: bool,
    part: tuple[int, int],
    out: np.ndarray,
) -> None:
    """Sorted values or their positions along an axis; ``out`` takes positions ``part`` of them.

    >>> out = np.empty(3)
    >>> sort_into(np.array([1.0, np.nan, 2.0]), 0, False, False, (0, 3), out)
    >>> out
    array([ 1.,  2., nan])
    """
    order = _argsort if indices else _sort
    for lane in lanes(x.shape, axis, _AT_ONCE):
        values = order(x[lane], axis, descending)
        where = (*lane[:axis], slice(None), *lane[axis + 1 :])
        out[where] = _along(values, axis, *part)


def _sort(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    if is_extended(x.dtype):
        return np.take_along_axis(x, _argsort(x, axis, descending), axis)
    ties = _has_ties(x)
    values = np.flip(x, axis) if descending and ties else x
    # NumPy's default is several times as fast, where the order of ties cannot be seen.
    values = np.sort(values, axis=axis, kind="stable" if ties else None)
    return np.flip(values, axis) if descending else values


def _has_ties(x: np.ndarray) -> bool:
    """Whether values that compare equal may be told apart: zeros by their sign, NaN by its bits."""
    if x.dtype.kind == "c":
        return True
    if x.dtype.kind != "f":
        return False
    signs: set[bool] = set()
    for lane in lanes(x.shape, -1, _AT_ONCE):
        values = x[lane]
        if np.isnan(values).any():
            return True
        signs.update(np.unique(np.signbit(values[values == 0])).tolist())
        if len(signs) > 1:
            return True
    return False


def _argsort(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    values = _comparable(x)
    if not descending:
        return np.argsort(values, axis=axis, kind="stable")
    # Reversed twice, so that ties keep their order.
    order = np.argsort(np.flip(values, axis), axis=axis, kind="stable")
    np.subtract(x.shape[axis] - 1, order, out=order)
    return np.flip(order, axis)


def take_along_into(
    x: np.ndarray, indices: np.ndarray, axis: int, extent: int, name: str, out: np.ndarray
) -> None:
    """``out[..., i, ...] = x[..., indices[..., i, ...], ...]`` along an axis.

    Raises ``OutOfBoundsError`` for indices outside ``[-extent, extent)``.
    """
    if not indices.size:
        return
    _check(indices, extent, name)
    if x.ndim == 1:
        for s in range(0, indices.size, _AT_ONCE):
            places = indices[s : s + _AT_ONCE].astype(np.intp)
            out[s : s + _AT_ONCE] = x[places]
        return
    source = np.broadcast_to(x, _but(out.shape, axis, x.shape[axis]))
    wanted = np.broadcast_to(indices, out.shape)
    for lane in lanes(out.shape, axis, _AT_ONCE):
        whole = (*lane[:axis], slice(None), *lane[axis + 1 :])
        places = wanted[lane].astype(np.intp)
        out[lane] = np.take_along_axis(source[whole], places, axis)


def _but(shape: tuple[int, ...], axis: int, extent: int) -> tuple[int, ...]:
    return (*shape[:axis], extent, *shape[axis + 1 :])


def _check(indices: np.ndarray, extent: int, name: str) -> None:
    lowest, highest = int(indices.min()), int(indices.max())
    if -extent <= lowest and highest < extent:
        return
    wrong = lowest if lowest < -extent else highest
    raise OutOfBoundsError(
        f"take_along_axis: index {wrong} is out of bounds for {name} with size {extent}; "
        f"indices run from {-extent} to {extent - 1}"
    )


def lookup_into(table: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """``table[bits of x]``; the table has a value for every bit pattern.

    >>> out = np.empty(2, np.int64)
    >>> lookup_into(np.arange(256), np.array([3, -1], np.int8), out)
    >>> out
    array([  3, 255])
    """
    if x.ndim == 0:
        x, out = x.reshape(1), out.reshape(1)
    table = np.ascontiguousarray(table)
    codes = x.astype(x.dtype.newbyteorder("=")) if not x.dtype.isnative else x
    codes = codes.view(np.bool_ if codes.dtype.kind == "b" else f"u{codes.dtype.itemsize}")
    if codes.dtype == np.bool_:
        codes = codes.view(np.uint8)
    for lane in lanes(x.shape, -1, _AT_ONCE):
        target = out[lane]
        # No index can be outside; this mode only spares NumPy a copy of the result.
        if target.flags.c_contiguous and target.dtype.isnative:
            np.take(table, codes[lane], out=target, mode="wrap")
        else:
            target[...] = np.take(table, codes[lane], mode="wrap")


def search_into(table: np.ndarray, x: np.ndarray, op: str, out: np.ndarray) -> None:
    """What ``op`` says of the values of ``x`` in a sorted table.

    >>> out = np.empty(3, np.int64)
    >>> search_into(np.array([1, 3, 5]), np.array([0, 3, 9]), "right", out)
    >>> out
    array([0, 2, 3])
    """
    if x.ndim == 0:
        x, out = x.reshape(1), out.reshape(1)
    for lane in lanes(x.shape, -1, _AT_ONCE):
        values = x[lane]
        if op != "member":
            out[lane] = np.searchsorted(table, values, side=op)  # type: ignore[call-overload]
        elif not table.size:
            out[lane] = False
        else:
            places = np.minimum(np.searchsorted(table, values), table.size - 1)
            out[lane] = table[places] == values
