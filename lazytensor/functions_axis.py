"""Functions along one axis, and lookups in sorted values: sorting, scans, gathering, sets.

All are lazy, the indices and sorted values too. ``sort`` and ``argsort`` hold the axis whole, the
other dims in blocks; cumulative sums of long axes are made in two passes.
"""

from __future__ import annotations

from typing import Literal

from lazytensor import build_axis
from lazytensor.build import DTypeLike, Operand, as_node
from lazytensor.callsite import about
from lazytensor.tensor import LazyTensor

__all__ = [
    "argsort",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "isin",
    "searchsorted",
    "sort",
    "take_along_axis",
]

_wrap = LazyTensor._wrap


def cumulative_sum(
    x: Operand,
    /,
    *,
    axis: int | str | None = None,
    dtype: DTypeLike = None,
    include_initial: bool = False,
) -> LazyTensor:
    """Sum of every element and those before it along an axis.

    ``axis`` (number or name) may be left out for one dim. Integers are accumulated in 64 bits
    (they wrap around) and give int64 or uint64, floats keep their dtype and are accumulated in at
    least float64; ``dtype`` overrides both. ``include_initial`` puts a 0 first: the axis is one
    longer and counts from 0. |error| <= 4 sqrt(n) eps sum|x| for up to 10^9 elements, and the
    same bits whatever the threads.

    Raises ``DimensionError`` for a wrong axis, ``DTypeError`` for what is no number. Array API
    standard 2025.12, statistical functions, ``cumulative_sum``.

    >>> lt.cumulative_sum(lt.asarray([1, 2, 3]), include_initial=True).collect()
    array([0, 1, 3, 6])
    """
    with about(x):
        return _wrap(
            build_axis.cumulate("cumulative_sum", as_node(x), axis, dtype, include_initial)
        )


def cumulative_prod(
    x: Operand,
    /,
    *,
    axis: int | str | None = None,
    dtype: DTypeLike = None,
    include_initial: bool = False,
) -> LazyTensor:
    """Product of every element and those before it along an axis.

    As ``cumulative_sum``, with a 1 first. Products of floats are made one after the other, so their
    axis is held whole. Array API standard 2025.12, statistical functions, ``cumulative_prod``.

    >>> lt.cumulative_prod(lt.asarray([1, 2, 3])).collect()
    array([1, 2, 6])
    """
    with about(x):
        return _wrap(
            build_axis.cumulate("cumulative_prod", as_node(x), axis, dtype, include_initial)
        )


def sort(
    x: Operand, /, *, axis: int | str = -1, descending: bool = False, stable: bool = True
) -> LazyTensor:
    """The values in ascending order along an axis.

    NaN counts as greater than all numbers: it is last, with ``descending`` first. Complex numbers
    are ordered by real part, then by imaginary part. Zeros of both signs are equal and keep their
    order; ``stable`` is always so. Domain and names stay. A task holds the axis whole.

    Raises ``DimensionError`` for a wrong axis, ``DTypeError`` for structured dtypes. Array API
    standard 2025.12, sorting functions, ``sort``.

    >>> lt.sort(lt.asarray([2.0, float("nan"), 1.0]), descending=True).collect()
    array([nan,  2.,  1.])
    """
    with about(x):
        return _wrap(build_axis.sort(as_node(x), axis, descending, indices=False))


def argsort(
    x: Operand, /, *, axis: int | str = -1, descending: bool = False, stable: bool = True
) -> LazyTensor:
    """The positions, as int64, that put the values in ascending order along an axis.

    Equal values keep their order, also with ``descending``; see ``sort``. Array API standard
    2025.12, sorting functions, ``argsort``.

    >>> lt.argsort(lt.asarray([2, 1, 2]), descending=True).collect()
    array([0, 2, 1])
    """
    with about(x):
        return _wrap(build_axis.sort(as_node(x), axis, descending, indices=True))


def diff(
    x: Operand,
    /,
    *,
    axis: int | str = -1,
    n: int = 1,
    prepend: Operand | None = None,
    append: Operand | None = None,
) -> LazyTensor:
    """Differences of neighbours along an axis, ``n`` times; of bools whether they differ.

    ``prepend`` and ``append`` are put before and after first: tensors of as many dims, or single
    values. Unsigned integers wrap around. The axis is ``n`` shorter and counts from 0.

    Raises ``DimensionError`` for a wrong axis, ``ShapeError`` for a negative ``n`` or edges that
    do not fit. Array API standard 2025.12, utility functions, ``diff``.

    >>> lt.diff(lt.asarray([1, 4, 9]), prepend=0).collect()
    array([1, 3, 5])
    """
    with about(x, prepend, append):
        return _wrap(build_axis.diff(as_node(x), axis, n, prepend, append))


def take_along_axis(x: Operand, indices: Operand, /, *, axis: int | str = -1) -> LazyTensor:
    """``out[..., i, ...] = x[..., indices[..., i, ...], ...]`` along an axis.

    ``indices`` are integers, may be lazy, have as many dims as ``x``, and broadcast against it
    along all other dims. Negative ones count from the end. Along the axis the result has the
    coordinates of ``indices``; a task holds ``x`` whole along it.

    Raises ``DTypeError`` or ``ShapeError`` when built, ``OutOfBoundsError`` when collected, for an
    index outside. Array API standard 2025.12, indexing functions, ``take_along_axis``.

    >>> x = lt.asarray([[3, 1, 2]])
    >>> lt.take_along_axis(x, lt.argsort(x)).collect()
    array([[1, 2, 3]])
    """
    with about(x, indices):
        return _wrap(build_axis.take_along_axis(as_node(x), as_node(indices), axis))


def searchsorted(
    x1: Operand,
    x2: Operand,
    /,
    *,
    side: Literal["left", "right"] = "left",
    sorter: Operand | None = None,
) -> LazyTensor:
    """Where every value of ``x2`` would be put into ``x1``, as int64.

    ``x1`` has one dim and is sorted in ascending order, or put in order by the positions
    ``sorter``; every task holds it whole. ``side``: before or after values that are equal. NaN is
    greater than all numbers. The result has the domain of ``x2``.

    Raises ``ShapeError`` or ``DTypeError`` for operands that do not fit. Array API standard
    2025.12, searching functions, ``searchsorted``.

    >>> lt.searchsorted(lt.asarray([1, 3, 5]), lt.asarray([[0, 3], [4, 9]])).collect()
    array([[0, 1],
           [2, 3]])
    """
    with about(x1, x2, sorter):
        return _wrap(build_axis.searchsorted(x1, x2, side, sorter))


def isin(x1: Operand, x2: Operand, /, *, invert: bool = False) -> LazyTensor:
    """Whether every value of ``x1`` is among those of ``x2``; with ``invert`` whether it is not.

    Values are compared in their promoted dtype, as by ``==``: NaN is never found. ``x2`` is sorted
    once and held whole by every task.

    Raises ``DTypeError`` for dtypes that have no common one. Array API standard 2025.12, set
    functions, ``isin``.

    >>> lt.isin(lt.asarray([1, 2, 3]), [3, 1]).collect()
    array([ True, False,  True])
    """
    with about(x1, x2):
        return _wrap(build_axis.isin(x1, x2, invert))
