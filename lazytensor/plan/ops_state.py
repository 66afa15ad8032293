"""Reductions as mergeable states: what makes them stream, exactly and independent of the blocks.

A state is a tuple of arrays shaped like the block with the reduced axes kept as size 1. ``partial``
makes one from a block, ``merge`` joins two, ``finish`` turns the last into values. Merging is
accurate in any order that an engine can afford, a running merge too: integers are exact, float sums
carry the rounding error of every merge along (Knuth's TwoSum), variances merge by Chan's formula.
Sums inside a block are pairwise along every axis. So |error| <= 4 sqrt(n) eps sum|x| holds for
every layout and cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from lazytensor.plan.ops_repeat import (
    Repeat,
    same,
    times,
    times_in_floats,
    times_itself,
    without_spread,
)
from lazytensor.plan.promote import is_extended

__all__ = [
    "ALL",
    "ANY",
    "ARGMAX",
    "ARGMIN",
    "COUNT",
    "MAX",
    "MEAN",
    "MIN",
    "PROD",
    "STD",
    "SUM",
    "VAR",
    "Algebra",
    "Place",
    "State",
    "everywhere",
    "pairwise_total",
    "spread_nbytes",
    "spread_of_sums",
    "sums_as_floats",
]

State = tuple[np.ndarray, ...]
Axes = tuple[int, ...]
Params = Mapping[str, Any]

_PAIRWISE = 128  # elements summed one after another before sums are paired, as NumPy does
_PIECE = 1 << 17  # elements that are looked at together where each of them takes further memory
_FEWEST = 16  # of them at least for each element of a state
_FEW_SHORT = 1 << 15  # squares of so many integers of 16 bits, times their number, fit into 63 bits
_MANY_SHORT = 1 << 31  # the sum of so many such squares may not
_INT64 = np.dtype(np.int64)
_UINT64 = np.dtype(np.uint64)
_FLOAT64 = np.dtype(np.float64)
_COMPLEX128 = np.dtype(np.complex128)


class Place(NamedTuple):
    """Where a block lies: position of its first element, and extents of the whole array."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]


class Algebra(NamedTuple):
    """How one reduction makes, merges and finishes states.

    ``partial(block, axes, dtype, place)``: ``dtype`` is the result's. ``finish(state, dtype, count,
    params)``: ``count`` is the number of elements that went into each result. ``repeat(one,
    count)``: the state of ``count`` elements like the one whose state is given; None where there
    is none.
    """

    partial: Callable[[np.ndarray, Axes, np.dtype, Place], State]
    merge: Callable[[State, State], State]
    finish: Callable[[State, np.dtype, int, Params], np.ndarray]
    repeat: Repeat | None = None


def _accumulator(dtype: np.dtype) -> np.dtype:
    """Dtype to accumulate in, so that results of this dtype are right."""
    if dtype.kind in "bi":
        return _INT64
    if dtype.kind == "u":
        return _UINT64
    if dtype.kind == "c":
        return dtype if dtype.itemsize > 16 else _COMPLEX128
    return dtype if dtype.kind == "f" and dtype.itemsize > 8 else _FLOAT64


def _widened(block: np.ndarray) -> np.ndarray:
    """Blocks of ml_dtypes formats as float32, which holds all of their values."""
    return block.astype(np.float32) if is_extended(block.dtype) else block


def _componentwise(f: Callable[..., np.ndarray], *values: np.ndarray) -> np.ndarray:
    """``f`` on real arrays; on real and imaginary parts apart, so that a NaN stays in its part."""
    if values[0].dtype.kind != "c":
        return f(*values)
    out = np.empty(values[0].shape, values[0].dtype)
    out.real = f(*(v.real for v in values))
    out.imag = f(*(v.imag for v in values))
    return out


# Sums.


def pairwise_total(block: np.ndarray, axes: Axes, accumulator: np.dtype) -> np.ndarray:
    """Sum over axes, kept as size 1, with an error that does not grow with the extents.

    >>> pairwise_total(np.ones((2, 3)), (0,), np.dtype(np.float64)).tolist()
    [[2.0, 2.0, 2.0]]
    """
    exact = accumulator.kind in "iu" or block.dtype.itemsize < accumulator.itemsize
    if exact:
        wide = _widened(block)
        return np.add.reduce(wide, axis=axes, dtype=accumulator, keepdims=True)
    total = block.astype(accumulator, copy=False)
    for axis in sorted(axes, reverse=True):
        total = _pairwise(total, axis)
    return total


def _pairwise(values: np.ndarray, axis: int) -> np.ndarray:
    """Sum along one axis in blocks, then of the blocks; NumPy pairs only along contiguous axes."""
    extent = values.shape[axis]
    if extent <= _PAIRWISE or values.strides[axis] == values.itemsize:
        return np.add.reduce(values, axis=axis, keepdims=True)
    blocks, rest = divmod(extent, _PAIRWISE)
    head, tail = np.split(values, [blocks * _PAIRWISE], axis=axis)
    # Splitting one axis in two never copies.
    shape = (*values.shape[:axis], blocks, _PAIRWISE, *values.shape[axis + 1 :])
    sums = np.add.reduce(head.reshape(shape), axis=axis + 1)
    if rest:
        last = np.add.reduce(tail, axis=axis, keepdims=True)
        sums = np.concatenate([sums, last], axis=axis)
    return _pairwise(sums, axis)


def _sum_partial(block: np.ndarray, axes: Axes, dtype: np.dtype, _place: Place) -> State:
    accumulator = _accumulator(dtype)
    if accumulator.kind in "iu":
        cast = block if block.dtype.kind in "biu" else block.astype(dtype)
        return (pairwise_total(cast, axes, accumulator),)
    total = pairwise_total(block, axes, accumulator)
    return total, np.zeros_like(total)


def _sum_merge(a: State, b: State) -> State:
    if len(a) == 1:
        return (a[0] + b[0],)
    total = a[0] + b[0]
    shown = total - a[0]
    lost = (a[0] - (total - shown)) + (b[0] - shown)
    return total, a[1] + b[1] + lost


def _sum_value(state: State) -> np.ndarray:
    """The sum with what merging had rounded off; infinities and -0.0 stay themselves."""
    if len(state) == 1:
        return state[0]

    def mend(total: np.ndarray, lost: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(total) & (lost != 0), total + lost, total)

    return _componentwise(mend, *state)


def _sum_finish(state: State, dtype: np.dtype, _count: int, _params: Params) -> np.ndarray:
    return _sum_value(state).astype(dtype, copy=False)


def _mean_partial(block: np.ndarray, axes: Axes, dtype: np.dtype, place: Place) -> State:
    """Integers of up to 16 bits are summed exactly; they cannot overflow 64 bits. So are those of
    32 bits in a block, but not further."""
    if block.dtype.kind in "biu" and block.dtype.itemsize <= 2:
        return _sum_partial(block, axes, _INT64, place)
    if block.dtype.kind in "iu" and block.dtype.itemsize == 4 and block.size < _MANY_SHORT:
        return sums_as_floats(_sum_partial(block, axes, _INT64, place))
    return _sum_partial(block, axes, dtype, place)


def _mean_merge(a: State, b: State) -> State:
    """As sums; what may be too much for 64 bits (``ops_repeat``) is a float already."""
    if len(a) != len(b):
        a, b = sums_as_floats(a), sums_as_floats(b)
    return _sum_merge(a, b)


def sums_as_floats(state: State) -> State:
    """A sum of integers as one of floats, with what that rounds off.

    >>> [part.tolist() for part in sums_as_floats((np.array([2**53 + 1]),))]
    [[9007199254740992.0], [1.0]]
    """
    if len(state) == 2:
        return state
    total = state[0].astype(np.float64)
    return total, (state[0] - total.astype(np.int64)).astype(np.float64)


def _mean_finish(state: State, dtype: np.dtype, count: int, _params: Params) -> np.ndarray:
    def divide(total: np.ndarray) -> np.ndarray:
        quotient: np.ndarray = np.true_divide(total, count)
        return quotient

    return _componentwise(divide, _sum_value(state)).astype(dtype, copy=False)


def _prod_partial(block: np.ndarray, axes: Axes, dtype: np.dtype, _place: Place) -> State:
    accumulator = _accumulator(dtype)
    cast = block.astype(dtype) if accumulator.kind in "iu" and block.dtype.kind == "f" else block
    wide = _widened(cast)
    return (np.multiply.reduce(wide, axis=axes, dtype=accumulator, keepdims=True),)


def _prod_merge(a: State, b: State) -> State:
    return (a[0] * b[0],)


def _first_finish(state: State, dtype: np.dtype, _count: int, _params: Params) -> np.ndarray:
    return state[0].astype(dtype, copy=False)


# Spread: count, mean and sum of squared deviations (Chan, Golub, LeVeque 1983).


def _spread_partial(block: np.ndarray, axes: Axes, dtype: np.dtype, place: Place) -> State:
    """Piece by piece: what a variance needs beside the block then stays in the caches."""
    if block.dtype.kind in "biu" and block.dtype.itemsize <= 2 and block.size < _MANY_SHORT:
        return spread_of_sums(math.prod([block.shape[d] for d in axes]), *_sums(block, axes))
    accumulator = _COMPLEX128 if block.dtype.kind == "c" else _FLOAT64
    if block.dtype.kind in "fc" and block.dtype.itemsize > accumulator.itemsize:
        accumulator = block.dtype
    axis = next((d for d, n in enumerate(block.shape) if n > 1), 0)
    rows = block.shape[axis] if block.ndim else 1
    kept = math.prod(_kept_extents(block, axes))
    # Merging states must cost little beside making them.
    least = _FEWEST * kept if axis in axes else 1
    size = max(1, rows * max(_PIECE, least) // max(1, block.size))
    if rows <= size:
        return _spread_of(block, axes, accumulator)
    inside = (slice(None),) * axis
    states = (
        _spread_partial(block[(*inside, slice(i, i + size))], axes, dtype, place)
        for i in range(0, rows, size)
    )
    if axis in axes:
        return reduce(_spread_merge, states)
    _, mean, squares = (np.concatenate(parts, axis) for parts in zip(*states, strict=True))
    return everywhere(math.prod([block.shape[d] for d in axes]), mean.shape), mean, squares


def _sums(block: np.ndarray, axes: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Sums, and sums of squares, of integers of up to 16 bits: both are exact."""
    kept = tuple([1 if d in axes else n for d, n in enumerate(block.shape)])
    total, squares = np.zeros(kept, np.int64), np.zeros(kept, np.int64)
    axis = next((d for d, n in enumerate(block.shape) if n > 1), 0)
    rows = block.shape[axis] if block.ndim else 1
    size = max(1, rows * _PIECE // max(1, block.size))
    inside = (slice(None),) * axis
    for i in range(0, rows, size):
        piece = block[(*inside, slice(i, i + size))] if block.ndim else block
        place = (*inside, slice(i, i + size)) if block.ndim and axis not in axes else ...
        total[place] += pairwise_total(piece, axes, _INT64)
        # The square of -2^15 still fits.
        wide = np.array(piece, np.int32 if piece.dtype.kind == "i" else np.uint32)
        squares[place] += pairwise_total(np.multiply(wide, wide, out=wide), axes, _INT64)
    return total, squares


def spread_of_sums(count: int, total: np.ndarray, squares: np.ndarray) -> State:
    """The state of a variance from exact sums of ``count`` integers of up to 16 bits each.

    Both sums are int64. The sum of squared deviations is exact before it is rounded.

    >>> [part.tolist() for part in spread_of_sums(4, np.array([10]), np.array([30]))]
    [[4], [2.5], [5.0]]
    """
    n = max(count, 1)
    if count >= _FEW_SHORT:
        # Products leave 64 bits, but then few positions are kept: a block is not that large.
        exact, of_squares = total.astype(object), squares.astype(object)
        spread = np.asarray((n * of_squares - exact * exact) / n, np.float64)
    else:
        spread = np.asarray((n * squares - total * total) / n)
    return everywhere(count, total.shape), np.asarray(total / n), spread


def _spread_of(block: np.ndarray, axes: Axes, accumulator: np.dtype) -> State:
    values = block.astype(accumulator, copy=False)
    count = 1
    for axis in axes:
        count *= block.shape[axis]
    mean = pairwise_total(values, axes, accumulator) / max(count, 1)
    deviation = np.asarray(np.subtract(values, mean, out=None if values is block else values))
    rest = _square(pairwise_total(deviation, axes, accumulator)) / max(count, 1)
    if deviation.dtype.kind == "c":
        deviation = _square(deviation)
    else:
        np.multiply(deviation, deviation, out=deviation)
    # What is left of the mean's own rounding error is taken out again.
    squares = np.maximum(pairwise_total(deviation, axes, deviation.dtype) - rest, 0)
    return everywhere(count, mean.shape), mean, squares


def everywhere(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """The same number at each position, kept once.

    >>> everywhere(3, (2,)).tolist()
    [3, 3]
    """
    return np.broadcast_to(np.int64(count), shape)


def _is_everywhere(counts: np.ndarray) -> bool:
    """Whether that is how numbers are kept."""
    return counts.size > 0 and counts.dtype == _INT64 and not any(counts.strides)


def spread_nbytes(kept: int, dtype: np.dtype) -> int:
    """Bytes that the state of a variance takes beside the block while it is made."""
    piece = max(_PIECE, _FEWEST * kept)
    if dtype.kind == "c":
        return 6 * piece * max(8, dtype.itemsize // 2)
    return piece * max(8, dtype.itemsize)


def _square(values: np.ndarray) -> np.ndarray:
    parts = (values.real, values.imag) if values.dtype.kind == "c" else (values,)
    squares = [part * part for part in parts]
    total: np.ndarray = squares[0] if len(squares) == 1 else squares[0] + squares[1]
    return total


def _spread_merge(a: State, b: State) -> State:
    if _is_everywhere(a[0]) and _is_everywhere(b[0]):
        return _merge_even(a, b, int(a[0].flat[0]), int(b[0].flat[0]))
    count = a[0] + b[0]
    share = b[0] / np.maximum(count, 1)
    delta = b[1] - a[1]
    # An empty side has mean 0, which must not count.
    mean = np.where(a[0] == 0, b[1], a[1] + delta * share)
    return count, mean, a[2] + b[2] + _square(delta) * (a[0] * share)


def _merge_even(a: State, b: State, n: int, m: int) -> State:
    """The same, of ``n`` and ``m`` values everywhere: in as few steps through memory as can be."""
    if not n or not m:
        return a if m == 0 else b
    share = m / (n + m)
    delta = np.asarray(b[1] - a[1])
    mean = np.asarray(delta * share)
    mean += a[1]
    apart = np.asarray(_square(delta))
    apart *= n * share
    squares = np.asarray(a[2] + b[2])
    squares += apart
    return everywhere(n + m, a[0].shape), mean, squares


def _variance(state: State, params: Params) -> np.ndarray:
    count, _, squares = state
    freedom = count - params.get("correction", 0.0)
    # The standard: NaN where nothing is left to divide by.
    return np.where(freedom > 0, squares / np.where(freedom > 0, freedom, 1), np.nan)


def _var_finish(state: State, dtype: np.dtype, _count: int, params: Params) -> np.ndarray:
    return _variance(state, params).astype(dtype, copy=False)


def _std_finish(state: State, dtype: np.dtype, _count: int, params: Params) -> np.ndarray:
    deviation: np.ndarray = np.sqrt(_variance(state, params))
    return deviation.astype(dtype, copy=False)


# Extremes. NaN propagates. Of zeros of both signs the minimum is -0.0 and the maximum 0.0: NumPy
# returns whichever its vector lanes meet last, which would depend on how blocks are cut.


def _extreme(ufunc: np.ufunc, negative_if: np.ufunc) -> Algebra:
    """``negative_if`` joins sign bits: whether a zero is negative if any is, or if all are."""

    def partial(block: np.ndarray, axes: Axes, _dtype: np.dtype, _place: Place) -> State:
        values = _widened(block)
        extreme = ufunc.reduce(values, axis=axes, keepdims=True)
        zero = extreme == 0
        if values.dtype.kind == "f" and zero.any():
            negative = negative_if.reduce(np.signbit(values), axis=axes, keepdims=True)
            extreme = np.where(zero, _signed_zero(negative, values.dtype), extreme)
        return (extreme,)

    def merge(a: State, b: State) -> State:
        extreme = ufunc(a[0], b[0])
        if extreme.dtype.kind == "f":
            negative = negative_if(np.signbit(a[0]), np.signbit(b[0]))
            extreme = np.where(extreme == 0, _signed_zero(negative, extreme.dtype), extreme)
        return (extreme,)

    return Algebra(partial, merge, _first_finish, same)


def _signed_zero(negative: np.ndarray, dtype: np.dtype) -> np.ndarray:
    zero: np.ndarray = np.where(negative, dtype.type(-0.0), dtype.type(0.0))
    return zero


def _arg_extreme(numpy_arg: Callable[..., Any], better: np.ufunc) -> Algebra:
    """State: the extreme value and its place, counted over the reduced axes of the whole array.

    NaN beats every number and of equals the first wins, as in NumPy, whatever the blocks' order.
    """

    def partial(block: np.ndarray, axes: Axes, _dtype: np.dtype, place: Place) -> State:
        values = _widened(block)
        kept = tuple(1 if d in axes else n for d, n in enumerate(block.shape))
        reduced = tuple(block.shape[d] for d in axes)
        count = int(np.prod(reduced))
        last = tuple(range(block.ndim - len(axes), block.ndim))
        rows = np.moveaxis(values, axes, last).reshape((*_kept_extents(block, axes), count))
        local = np.asarray(numpy_arg(rows, axis=-1))
        best = np.take_along_axis(rows, local[..., None], axis=-1)
        index = np.zeros(local.shape, np.int64)
        # Over no axes the place is 0, which NumPy knows of scalars only.
        places = np.unravel_index(local, reduced) if reduced else ()
        for d, position in zip(axes, places, strict=True):
            index = index * place.shape[d] + (position + place.offsets[d])
        return best.reshape(kept), index.reshape(kept)

    def merge(a: State, b: State) -> State:
        lost, other_lost = np.isnan(a[0]), np.isnan(b[0])
        wins = (better(b[0], a[0]) & ~lost) | (other_lost & ~lost)
        tied = (a[0] == b[0]) | (lost & other_lost)
        wins = wins | (tied & (b[1] < a[1]))
        return np.where(wins, b[0], a[0]), np.where(wins, b[1], a[1])

    def finish(state: State, dtype: np.dtype, _count: int, _params: Params) -> np.ndarray:
        return state[1].astype(dtype, copy=False)

    return Algebra(partial, merge, finish, same)


def _kept_extents(block: np.ndarray, axes: Axes) -> tuple[int, ...]:
    """Extents of the axes that are not reduced."""
    return tuple(n for d, n in enumerate(block.shape) if d not in axes)


# Truth and counting.


def _truth(ufunc: np.ufunc) -> Algebra:
    def partial(block: np.ndarray, axes: Axes, _dtype: np.dtype, _place: Place) -> State:
        return (ufunc.reduce(block.astype(np.bool_, copy=False), axis=axes, keepdims=True),)

    def merge(a: State, b: State) -> State:
        return (ufunc(a[0], b[0]),)

    return Algebra(partial, merge, _first_finish, same)


def _count_partial(block: np.ndarray, axes: Axes, _dtype: np.dtype, _place: Place) -> State:
    if not axes:
        return (block.astype(np.bool_).astype(np.int64),)
    return (np.asarray(np.count_nonzero(block, axis=axes, keepdims=True), np.int64),)


def _add_merge(a: State, b: State) -> State:
    return (a[0] + b[0],)


SUM = Algebra(_sum_partial, _sum_merge, _sum_finish, times)
MEAN = Algebra(_mean_partial, _mean_merge, _mean_finish, times_in_floats)
PROD = Algebra(_prod_partial, _prod_merge, _first_finish, times_itself)
VAR = Algebra(_spread_partial, _spread_merge, _var_finish, without_spread)
STD = Algebra(_spread_partial, _spread_merge, _std_finish, without_spread)
MIN = _extreme(np.minimum, np.logical_or)
MAX = _extreme(np.maximum, np.logical_and)
ARGMIN = _arg_extreme(np.argmin, np.less)
ARGMAX = _arg_extreme(np.argmax, np.greater)
ANY = _truth(np.logical_or)
ALL = _truth(np.logical_and)
COUNT = Algebra(_count_partial, _add_merge, _first_finish, times)
