"""The linear algebra functions of the Array API standard's main namespace.

All of them add up products along dims that two tensors share. ``matrix_transpose``, which only
moves dims, is with the manipulations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytensor import build_contract
from lazytensor.callsite import about
from lazytensor.tensor import LazyTensor

__all__ = ["matmul", "tensordot", "vecdot"]


def matmul(x1: Any, x2: Any, /) -> LazyTensor:
    """The matrix product; ``x1 @ x2``.

    Parameters
    ----------
    x1, x2
        Matrices ``(..., M, K)`` and ``(..., K, N)`` give ``(..., M, N)``; the dims before the last
        two are stacks that broadcast. A vector ``(K,)`` on the left is one row, on the right one
        column, which the result does not have.

    Rows keep the names and coordinates of ``x1``, columns those of ``x2``; a name that would stand
    on both is dropped. The dtype is the common one: integers are exact modulo 2**n, floats of less
    than 32 bits are added up in float32 and rounded once, and float sums are the same to the last
    bit however many threads there are. Sums of no products are 0. Slices of the result read only
    their rows and columns.

    Raises ``ShapeError`` for scalars, extents that differ and stacks that do not broadcast,
    ``DTypeError`` for what are no numbers. Array API standard 2025.12, linear algebra functions,
    ``matmul``.

    >>> x = lt.asarray([[1, 2], [3, 4]])
    >>> (x @ x).collect()
    array([[ 7, 10],
           [15, 22]])
    """
    with about(x1, x2):
        return LazyTensor._wrap(build_contract.matmul(x1, x2))


def tensordot(
    x1: Any,
    x2: Any,
    /,
    *,
    axes: int | tuple[Sequence[int | str], Sequence[int | str]] = 2,
) -> LazyTensor:
    """Products summed over axes of both tensors.

    Parameters
    ----------
    axes
        A number N: the last N dims of ``x1`` and the first N of ``x2``, in order; 0 gives all
        products. Two sequences: dims of ``x1`` (numbers or names) and those of ``x2`` that go with
        them.

    The dims of the result are those of ``x1`` that are left, then those of ``x2``. Dtype, accuracy
    and names are as of ``matmul``. Raises ``ShapeError`` for extents that differ,
    ``DimensionError`` for axes that do not exist, are named twice or do not pair up. Array API
    standard 2025.12, linear algebra functions, ``tensordot``.

    >>> lt.tensordot(lt.ones((2, 3, 4)), lt.ones((4, 3)), axes=((1, 2), (1, 0))).collect()
    array([12., 12.])
    """
    with about(x1, x2):
        return LazyTensor._wrap(build_contract.tensordot(x1, x2, axes))


def vecdot(x1: Any, x2: Any, /, *, axis: int | str = -1) -> LazyTensor:
    """Dot products of the vectors along one axis: ``sum(conj(x1) * x2, axis)``.

    ``axis``: of either tensor, counted within it. The other dims broadcast. Dtype and accuracy are
    as of ``matmul``. Raises ``ShapeError`` where the extents along the axis differ or the other
    dims do not broadcast, ``DimensionError`` for an axis that does not exist. Array API standard
    2025.12, linear algebra functions, ``vecdot``.

    >>> lt.vecdot(lt.asarray([[1, 2], [3, 4]]), lt.asarray([10, 1])).collect()
    array([12, 34])
    """
    with about(x1, x2):
        return LazyTensor._wrap(build_contract.vecdot(x1, x2, axis))
