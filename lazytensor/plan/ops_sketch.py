"""Statistics of the elements that a mask selects, as mergeable states.

A block of these reductions is a record array: ``value``, and ``keep``, which says whether it
counts. So a mask is read together with what it selects from, in one pass, and several statistics
of one selection share that pass. The states are those of ``ops_state`` with the number of selected
elements before them: that number differs from position to position, and may be none.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lazytensor.errors import ShapeError
from lazytensor.plan import ops_state as states
from lazytensor.plan.ops_reduce import ROWS, Params, Reduction, Rule
from lazytensor.plan.ops_state import Algebra, Axes, Place, State
from lazytensor.plan.promote import is_extended

__all__ = [
    "KEEP", "MASKED", "VALUE", "edges_between", "element_dtype", "nothing_selected",
    "one_selection", "pair_dtype", "selected_rows",
]  # fmt: skip

VALUE, KEEP = "value", "keep"

_UNMASKED = {row.name: row for row in ROWS}


def pair_dtype(dtype: np.dtype) -> np.dtype:
    """The record dtype of values of ``dtype`` and whether they count.

    >>> pair_dtype(np.dtype("u2")).names
    ('value', 'keep')
    """
    return np.dtype([(VALUE, dtype), (KEEP, np.bool_)])


def element_dtype(dtype: np.dtype) -> np.dtype:
    """Dtype of the elements that are looked at: of the values of a pair, else the dtype itself.

    >>> element_dtype(pair_dtype(np.dtype("u2"))), element_dtype(np.dtype("u2"))
    (dtype('uint16'), dtype('uint16'))
    """
    return dtype if dtype.names != (VALUE, KEEP) else _values(dtype)


def _values(dtype: np.dtype) -> np.dtype:
    fields = dtype.fields
    if fields is None or tuple(fields) != (VALUE, KEEP):
        raise TypeError(f"{dtype} holds no values and whether they count")
    return np.dtype(fields[VALUE][0])


_selections = threading.local()
_FEW_POSITIONS = 64
_ENOUGH_ELEMENTS = 1024


@contextmanager
def one_selection() -> Iterator[None]:
    """Within, what a mask selects of a block is picked once, however many statistics look at it."""
    _selections.known = {}
    try:
        yield
    finally:
        _selections.known = None


def selected_rows(block: np.ndarray, axes: Axes) -> list[np.ndarray]:
    """The elements that count at every kept position, in their order; each is one dim."""
    known: dict[Any, list[np.ndarray]] | None = getattr(_selections, "known", None)
    key = (id(block), axes)
    if known is not None and key in known:
        return known[key]
    first = block.ndim - len(axes)
    moved = np.moveaxis(block, axes, tuple(range(first, block.ndim)))
    rows = []
    for index in np.ndindex(moved.shape[:first]):
        row = moved[index]
        # Positions first: picking by a mask itself takes ten times as long where it is ragged.
        rows.append(row[VALUE].reshape(-1)[np.flatnonzero(row[KEEP])])
    if known is not None:
        known[key] = rows
    return rows


Partial = Callable[[np.ndarray, Axes, np.dtype, Place], State]


def _by_rows(unmasked: Partial, masked: Partial) -> Partial:
    """A block with few kept positions is picked apart; one with many is looked at as a whole.

    Both give the same states, up to the rounding of sums.
    """

    def partial(block: np.ndarray, axes: Axes, dtype: np.dtype, place: Place) -> State:
        kept = [1 if d in axes else n for d, n in enumerate(block.shape)]
        positions = math.prod(kept)
        if not positions or positions > _FEW_POSITIONS or block.size < _ENOUGH_ELEMENTS * positions:
            return masked(block, axes, dtype, place)
        found = []
        for row in selected_rows(block, axes):
            if len(row):
                found.append(unmasked(row, (0,), dtype, place))
            else:
                none = np.zeros(1, block.dtype)
                found.append(masked(none, (0,), dtype, place))
        return tuple([np.concatenate(part).reshape(kept) for part in zip(*found, strict=True)])

    return partial


def _counted(partial: Partial) -> Partial:
    """With the number of elements in front."""

    def counted(row: np.ndarray, axes: Axes, dtype: np.dtype, place: Place) -> State:
        return np.array([len(row)], np.int64), *partial(row, axes, dtype, place)

    return counted


def _as_unmasked(name: str) -> Rule:
    """The dtype that the same reduction gives without a mask."""

    def rule(dtype: np.dtype, asked: np.dtype | None) -> np.dtype:
        return _UNMASKED[name].rule(_values(dtype), asked)

    return rule


def _ordered(name: str) -> Rule:
    def rule(dtype: np.dtype, asked: np.dtype | None) -> np.dtype:
        if _values(dtype).kind == "c":
            raise TypeError("complex numbers have no order")
        return _as_unmasked(name)(dtype, asked)

    return rule


def _counting(dtype: np.dtype, _asked: np.dtype | None) -> np.dtype:
    _values(dtype)
    return np.dtype(np.int64)


def _selected(block: np.ndarray, axes: Axes) -> np.ndarray:
    """How many elements count, reduced axes kept as size 1."""
    keep = block[KEEP]
    if not axes:
        return keep.astype(np.int64)
    return np.asarray(np.count_nonzero(keep, axis=axes, keepdims=True), np.int64)


def _count_partial(block: np.ndarray, axes: Axes, _dtype: np.dtype, _place: Place) -> State:
    return (_selected(block, axes),)


def _others_as(block: np.ndarray, fill: Any) -> np.ndarray:
    """The values, with ``fill`` for those that do not count."""
    values = block[VALUE]
    chosen: np.ndarray = np.where(block[KEEP], values, np.asarray(fill).astype(values.dtype))
    return chosen


def _adding(algebra: Algebra) -> Algebra:
    """Sums and means: what does not count is -0.0, which changes no sum, not even one of -0.0."""

    def partial(block: np.ndarray, axes: Axes, dtype: np.dtype, place: Place) -> State:
        values = _others_as(block, -0.0 if block[VALUE].dtype.kind not in "biu" else 0)
        return _selected(block, axes), *algebra.partial(values, axes, dtype, place)

    def merge(a: State, b: State) -> State:
        return a[0] + b[0], *algebra.merge(a[1:], b[1:])

    def finish(state: State, dtype: np.dtype, _count: int, params: Params) -> np.ndarray:
        count: Any = state[0]
        values = algebra.finish(state[1:], dtype, count, params)
        if algebra is states.SUM:
            values = np.where(count == 0, np.zeros((), dtype), values)
        return values.astype(dtype, copy=False)

    return Algebra(_by_rows(_counted(algebra.partial), partial), merge, finish)


def _spread_partial(block: np.ndarray, axes: Axes, dtype: np.dtype, place: Place) -> State:
    """Count, mean and sum of squared deviations, as ``ops_state`` has them for all elements."""
    wide = np.complex128 if block[VALUE].dtype.kind == "c" else np.float64
    values, keep = _others_as(block, 0).astype(wide), block[KEEP]
    count = _selected(block, axes)
    some = np.maximum(count, 1)
    mean = states.SUM.partial(values, axes, values.dtype, place)[0] / some
    deviation = np.where(keep, values - mean, 0)
    squares = deviation.real * deviation.real
    if deviation.dtype.kind == "c":
        squares = squares + deviation.imag * deviation.imag
    total = states.SUM.partial(squares, axes, squares.dtype, place)[0]
    # What is left of the mean's own rounding error is taken out again.
    left = states.SUM.partial(deviation, axes, values.dtype, place)[0]
    error = left.real * left.real + left.imag * left.imag
    return count, mean, np.maximum(total - error / some, 0)


def _extreme(algebra: Algebra, *, smallest: bool) -> Algebra:
    """Minimum and maximum: what does not count is the extreme of the other side."""

    def partial(block: np.ndarray, axes: Axes, dtype: np.dtype, place: Place) -> State:
        if is_extended(block[VALUE].dtype):
            wide = np.empty(block.shape, pair_dtype(np.dtype(np.float32)))
            wide[VALUE], wide[KEEP] = block[VALUE], block[KEEP]
            block = wide
        other = _end(block[VALUE].dtype, highest=smallest)
        if any(block.shape[d] == 0 for d in axes):
            # NumPy knows no extreme of nothing.
            kept = tuple([1 if d in axes else n for d, n in enumerate(block.shape)])
            block = np.zeros(kept, block.dtype)
        values = _others_as(block, other)
        return _selected(block, axes), *algebra.partial(values, axes, dtype, place)

    def merge(a: State, b: State) -> State:
        return a[0] + b[0], *algebra.merge(a[1:], b[1:])

    def finish(state: State, dtype: np.dtype, count: int, params: Params) -> np.ndarray:
        values = algebra.finish(state[1:], dtype, count, params)
        nothing = state[0] == 0
        if not nothing.any():
            return values
        if dtype.kind in "biu" or (is_extended(dtype) and "int" in dtype.name):
            raise nothing_selected("min" if smallest else "max", dtype)
        lost = np.asarray(np.nan).astype(dtype)
        return np.where(nothing, lost, values).astype(dtype, copy=False)

    return Algebra(_by_rows(_counted(algebra.partial), partial), merge, finish)


def nothing_selected(what: str, dtype: np.dtype) -> ShapeError:
    """The error of a statistic that integers cannot express: one of no elements."""
    return ShapeError(
        f"the mask selects no element, and {dtype} has no value for the {what} of none; cast to a "
        f"float dtype, or ask for quantiles as floats, to get NaN there"
    )


def _end(dtype: np.dtype, *, highest: bool) -> Any:
    """What no value of the dtype is above (or below)."""
    if dtype.kind == "b":
        return highest
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return dtype.type(info.max if highest else info.min)
    return np.inf if highest else -np.inf


def _row(name: str, algebra: Algebra, rule: Rule, doc: str, **more: Any) -> Reduction:
    return Reduction(
        name=name,
        rule=rule,
        algebra=algebra,
        doc=doc,
        note="Elements that the mask leaves out do not count, whatever they are.",
        takes="records of a number and whether it counts",
        **more,
    )


MASKED: dict[str, Reduction] = {
    row.name: row
    for row in (
        _row(
            "count",
            Algebra(_count_partial, states.COUNT.merge, states.COUNT.finish),
            _counting,
            "Number of selected elements.",
        ),
        _row("sum", _adding(states.SUM), _as_unmasked("sum"), "Their sum; 0 of none."),
        _row("mean", _adding(states.MEAN), _as_unmasked("mean"), "Their mean; NaN of none."),
        _row(
            "std",
            Algebra(
                _by_rows(states.STD.partial, _spread_partial), states.STD.merge, states.STD.finish
            ),
            _as_unmasked("std"),
            "Their standard deviation; NaN of none.",
            parameters=(("correction", 0.0),),
        ),
        _row(
            "min",
            _extreme(states.MIN, smallest=True),
            _ordered("min"),
            "Their minimum; NaN of none, an error for integers.",
        ),
        _row(
            "max",
            _extreme(states.MAX, smallest=False),
            _ordered("max"),
            "Their maximum; NaN of none, an error for integers.",
        ),
    )
}
"""By name, the reductions of records of a value and whether it counts."""


def edges_between(
    low: np.ndarray, high: np.ndarray, bins: int, of: np.dtype, *, weak: bool
) -> np.ndarray:
    """Edges of bins of one width between two limits, for counting values of dtype ``of``.

    As ``numpy.histogram_bin_edges``, whose dtype they have. ``weak``: the limits were Python
    numbers. Limits that are not finite are a ``ValueError``.

    >>> edges_between(np.array(0.0), np.array(1.0), 2, np.dtype("f4"), weak=True)
    array([0. , 0.5, 1. ], dtype=float32)
    """
    limits: Any = (_plain(low).min(), _plain(high).max())
    if not np.isfinite(limits).all():
        raise ValueError(
            f"bins from {limits[0]} to {limits[1]}: that is not finite; say range=(low, high)"
        )
    if weak:
        limits = (limits[0].item(), limits[1].item())
    return np.histogram_bin_edges(np.empty(0, _countable(of)), bins, range=limits)


def _countable(dtype: np.dtype) -> np.dtype:
    """What NumPy's histogram takes for a dtype that it does not know."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if is_extended(dtype) else dtype


def _plain(limit: np.ndarray) -> np.ndarray:
    return limit.astype(_countable(limit.dtype), copy=False)
