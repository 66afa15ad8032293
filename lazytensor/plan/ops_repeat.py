"""The state of many equal elements, made from the state of one of them.

Regions of a plan that are known to be constant, a chunk that is not stored or the background of a
mosaic, may have more elements than anybody could make. Each reduction says here what its state is
for ``count`` of them; which is exact where merging is (integers modulo 2^64, extremes, truth,
counts), and as near as a correctly rounded product where floats are summed.

It is apart from ``ops_state`` because nothing here sees a block, a dtype rule or an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = ["Repeat", "same", "times", "times_in_floats", "times_itself", "without_spread"]

State = tuple[np.ndarray, ...]

Repeat = Callable[[State, int], State]
"""State of one element (all its arrays have one) and a positive count, to that of so many."""

_WORD = 1 << 64

_LARGE = 1 << 31
"""Sums and counts from here on are floats where merging more of them could leave 64 bits."""


def same(state: State, count: int) -> State:
    """Of equal elements one is as good as many: extremes, their places, truth.

    >>> same((np.array([3]),), 10)
    (array([3]),)
    """
    return state


def times(state: State, count: int) -> State:
    """``count`` times a sum: modulo 2^64, or a float and what rounding took from it.

    >>> times((np.array([5]),), 10**18)
    (array([5000000000000000000]),)
    >>> times((np.array([0.1]), np.array([0.0])), 10)[0]
    array([1.])
    """
    value = state[0]
    if value.dtype.kind in "iu":
        return (_modulo(int(value.item()) * count, value),)
    if value.dtype.kind == "c":
        total = np.empty_like(value)
        lost = np.empty_like(value)
        total.real, lost.real = _product(value.real, count)
        total.imag, lost.imag = _product(value.imag, count)
        return total, lost
    return _product(value, count)


def times_in_floats(state: State, count: int) -> State:
    """``count`` times a sum of small integers, of which a mean must not lose the high bits.

    >>> times_in_floats((np.array([65535]),), 2**60)
    (array([7.55567108e+22]), array([0.]))
    """
    if len(state) == 2:
        return times(state, count)
    total = int(state[0].item()) * count
    if abs(total) < _LARGE:
        return (np.full_like(state[0], total),)
    rounded = float(total)
    shape = state[0].shape
    return np.full(shape, rounded), np.full(shape, float(total - int(rounded)))


def _modulo(exact: int, like: np.ndarray) -> np.ndarray:
    """An integer modulo 2^64, as arithmetic of 64 bits leaves it."""
    wrapped = exact % _WORD
    if like.dtype.kind == "i" and wrapped >= _WORD // 2:
        wrapped -= _WORD
    return np.full_like(like, wrapped)


def _product(value: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``value * count`` rounded once, and the rest; of real floats, one element each."""
    zero = np.zeros_like(value)
    one = float(value.item()) if value.dtype.itemsize <= 8 else 0.0
    if value.dtype.itemsize > 8 or not math.isfinite(one) or one == 0:
        # Infinities, NaN and zeros of both signs stay what they are, however often they are added.
        return value * value.dtype.type(count), zero
    from fractions import Fraction

    exact = Fraction(one) * count
    try:
        total = float(exact)
    except OverflowError:
        return np.full_like(value, math.copysign(math.inf, one)), zero
    return np.full_like(value, total), np.full_like(value, float(exact - Fraction(total)))


def times_itself(state: State, count: int) -> State:
    """A factor to the power of ``count``: modulo 2^64, or a float.

    >>> times_itself((np.array([3]),), 3), times_itself((np.array([-1.0]),), 2**62 + 1)
    ((array([27]),), (array([-1.]),))
    """
    value = state[0]
    if value.dtype.kind in "iu":
        return (_modulo(pow(int(value.item()), count, _WORD), value),)
    if value.dtype.kind == "c":
        return (_power(value, count),)
    # The sign by itself: a count of more than 53 bits is no longer odd as a float.
    size = np.abs(value) ** value.dtype.type(count)
    return (np.copysign(size, value) if count % 2 else size,)


def _power(value: np.ndarray, count: int) -> np.ndarray:
    """By squaring, because ``**`` of complex numbers takes logarithms, which zeros do not have."""
    result: np.ndarray | None = None
    while True:
        if count % 2:
            result = value if result is None else result * value
        count //= 2
        if not count:
            return np.ones_like(value) if result is None else result
        value = value * value


def without_spread(state: State, count: int) -> State:
    """Count, mean and squared deviations of equal numbers: there are none, except NaN of NaN.

    >>> without_spread((np.array([1]), np.array([2.5]), np.array([0.0])), 7)
    (array([7]), array([2.5]), array([0.]))
    """
    one, mean, squares = state
    return np.full(one.shape, count, np.int64 if count < _LARGE else np.float64), mean, squares
