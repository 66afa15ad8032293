"""The creation functions of the Array API standard.

What has a rule is not stored: constants are one value seen through a view, ``eye`` and ``tril``
compare two progressions, a long ``arange`` is worked out where it is read. ``lt.zeros((10**9,
10**9))`` takes microseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytensor import build, build_views
from lazytensor.build import as_node
from lazytensor.callsite import about
from lazytensor.errors import DTypeError, ShapeError
from lazytensor.handoff import check_host_device
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index_interval import check_extent
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, Scan
from lazytensor.tensor import LazyTensor

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]

_STORED_PROGRESSION = 1 << 13  # elements; what is longer is worked out where it is read
_wrap = LazyTensor._wrap


def _filled(domain: IndexDomain, value: Any, dtype: Any) -> Node:
    if dtype is None:
        constant = np.asarray(value)
    else:
        with np.errstate(all="ignore"):
            constant = np.asarray(value).astype(build_views.as_dtype(dtype))
    if constant.ndim:
        raise ShapeError(f"the fill value must be a scalar, not of shape {constant.shape}")
    if constant.dtype.hasobject:
        raise DTypeError(f"{value!r} is no scalar that a tensor can hold")
    return build_views.view_maps(Constant(constant.dtype, constant.tobytes()), domain, ())


def _shape_domain(shape: Any) -> IndexDomain:
    extents = build_views.shape_of(shape)
    if any(n < 0 for n in extents):
        raise ShapeError(f"negative extent in shape {extents}")
    if len(extents) > 64:
        raise ShapeError(f"{len(extents)} dimensions; at most 64 are supported")
    return IndexDomain._make((0,) * len(extents), extents)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> LazyTensor:
    """A tensor of one value; by default in the dtype NumPy gives that value.

    ``shape``: extents, or one number. Raises ``ShapeError`` for negative extents, ``DTypeError``
    for what is no dtype. Array API standard 2025.12, creation functions, ``full``.

    >>> lt.full((2, 2), 7).collect()
    array([[7, 7],
           [7, 7]])
    """
    check_host_device(device)
    return _wrap(_filled(_shape_domain(shape), fill_value, dtype))


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> LazyTensor:
    """A tensor of zeros, float64 by default. Array API standard 2025.12, ``zeros``.

    >>> lt.zeros((10**9, 10**9))[5, :3].collect()
    array([0., 0., 0.])
    """
    return full(shape, 0, dtype=np.float64 if dtype is None else dtype, device=device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> LazyTensor:
    """A tensor of ones, float64 by default. Array API standard 2025.12, ``ones``.

    >>> lt.ones(3, dtype=lt.uint8).collect()
    array([1, 1, 1], dtype=uint8)
    """
    return full(shape, 1, dtype=np.float64 if dtype is None else dtype, device=device)


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> LazyTensor:
    """A tensor of values that mean nothing (zeros). Array API standard 2025.12, ``empty``.

    >>> lt.empty((2, 3)).shape
    (2, 3)
    """
    return zeros(shape, dtype=dtype, device=device)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> LazyTensor:
    """One value with the domain and chunks of ``x``, and its dtype unless another is named.

    Array API standard 2025.12, creation functions, ``full_like``.

    >>> lt.full_like(lt.asarray([1, 2], dtype="u1"), 9).collect()
    array([9, 9], dtype=uint8)
    """
    check_host_device(device)
    node = as_node(x)
    domain = node.domain
    firm = IndexDomain._make(domain.inclusive_min, domain.exclusive_max, domain.labels)
    with about(x):
        filled = _filled(firm, fill_value, node.dtype if dtype is None else dtype)
        return _wrap(_in_cells_of(node, filled))


def _in_cells_of(like: Node, node: Node) -> Node:
    """``node`` in cells of the extents that those of ``like`` have."""
    cells = list(zip(like.spec.chunks, like.shape, strict=True))
    if all(c is None or c >= n for c, n in cells):
        return node
    return build_views.rechunk(node, tuple(max(1, n if c is None else c) for c, n in cells))


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> LazyTensor:
    """Zeros with the domain and dtype of ``x``. Array API standard 2025.12, ``zeros_like``.

    >>> lt.zeros_like(lt.asarray([1, 2])).collect()
    array([0, 0])
    """
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> LazyTensor:
    """Ones with the domain and dtype of ``x``. Array API standard 2025.12, ``ones_like``.

    >>> lt.ones_like(lt.asarray([1, 2])).collect()
    array([1, 1])
    """
    return full_like(x, 1, dtype=dtype, device=device)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> LazyTensor:
    """Meaningless values with the domain and dtype of ``x``. Array API standard 2025.12.

    >>> lt.empty_like(lt.asarray([1, 2])).shape
    (2,)
    """
    return zeros_like(x, dtype=dtype, device=device)


def _memory(array: np.ndarray) -> Node:
    return Scan(MemorySource(array))


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
) -> LazyTensor:
    """Evenly spaced values in ``[start, stop)``; with one argument in ``[0, start)``.

    As ``numpy.arange``. Long progressions of numbers are not stored. Raises ``DTypeError`` where a
    long one would leave the default integer. Array API standard 2025.12,
    creation functions, ``arange``.

    >>> lt.arange(2, 8, 3).collect()
    array([2, 5])
    >>> lt.arange(10**12)[-2:].collect()
    array([999999999998, 999999999999])
    """
    check_host_device(device)
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ValueError("arange: the step must not be 0")
    to = None if dtype is None else build_views.as_dtype(dtype)
    size = _progression_size(start, stop, step)
    if size <= _STORED_PROGRESSION:
        return _wrap(_memory(np.arange(start, stop, step, dtype=to)))
    check_extent(size)
    head = np.arange(start, start + 2 * step, step, dtype=to)[:2]
    if to is None and head.dtype.kind in "iu":
        _check_fits(int(start) + int(step) * (size - 1), head.dtype)
    if head.dtype.kind not in "iuf" or head.dtype.itemsize < 4:
        return _wrap(_memory(np.arange(start, stop, step, dtype=to)))
    from lazytensor.io.progression import ProgressionSource

    return _wrap(Scan(ProgressionSource(head[0], np.diff(head)[0], size)))


def _check_fits(last: int, dtype: np.dtype) -> None:
    """An arange in the default integer must not wrap on its way."""
    limits = np.iinfo(dtype)
    if not limits.min <= last <= limits.max:
        raise DTypeError(f"arange: the last value {last} does not fit {dtype}; pass dtype=")


def _progression_size(start: Any, stop: Any, step: Any) -> int:
    if all(isinstance(value, (int, np.integer)) for value in (start, stop, step)):
        return max(0, -((int(start) - int(stop)) // int(step)))
    return max(0, int(np.ceil((stop - start) / step)))


def linspace(
    start: complex,
    stop: complex,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> LazyTensor:
    """``num`` evenly spaced values from ``start`` to ``stop``, as ``numpy.linspace``.

    Array API standard 2025.12, creation functions, ``linspace``.

    >>> lt.linspace(0, 1, 3).collect()
    array([0. , 0.5, 1. ])
    """
    check_host_device(device)
    if num < 0:
        raise ShapeError(f"linspace: {num} samples; the number must not be negative")
    to = None if dtype is None else build_views.as_dtype(dtype)
    return _wrap(_memory(np.linspace(start, stop, num, dtype=to, endpoint=endpoint)))


def _count(n: int) -> LazyTensor:
    return arange(n)


def _below_diagonal(rows: int, columns: int, k: int) -> LazyTensor:
    """For each place of a matrix whether it is on or below diagonal ``k``."""
    return _wrap(build.elementwise("less_equal", _count(columns), _count(rows)[:, None] + k))


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: Any = None,
    device: Any = None,
) -> LazyTensor:
    """Ones on diagonal ``k`` of a matrix and zeros elsewhere, float64 by default.

    Array API standard 2025.12, creation functions, ``eye``.

    >>> lt.eye(2, 3, k=1).collect()
    array([[0., 1., 0.],
           [0., 0., 1.]])
    """
    check_host_device(device)
    columns = n_rows if n_cols is None else n_cols
    _shape_domain((n_rows, columns))
    on = build.elementwise("equal", _count(columns), _count(n_rows)[:, None] + k)
    return _wrap(build_views.cast(on, np.float64 if dtype is None else dtype))


def tril(x: Any, /, *, k: int = 0) -> LazyTensor:
    """The matrices on the last two dims, zero above diagonal ``k``.

    Raises ``ShapeError`` for fewer than two dims. Array API standard 2025.12, ``tril``.

    >>> lt.tril(lt.ones((2, 2), dtype="u1")).collect()
    array([[1, 0],
           [1, 1]], dtype=uint8)
    """
    node = as_node(x)
    with about(x):
        rows, columns = _matrix(node)
        zero = np.zeros((), node.dtype)
        return _wrap(build.elementwise("where", _below_diagonal(rows, columns, k), x, zero))


def triu(x: Any, /, *, k: int = 0) -> LazyTensor:
    """The matrices on the last two dims, zero below diagonal ``k``.

    Raises ``ShapeError`` for fewer than two dims. Array API standard 2025.12, ``triu``.

    >>> lt.triu(lt.ones((2, 2), dtype="u1")).collect()
    array([[1, 1],
           [0, 1]], dtype=uint8)
    """
    node = as_node(x)
    with about(x):
        rows, columns = _matrix(node)
        zero = np.zeros((), node.dtype)
        return _wrap(build.elementwise("where", _below_diagonal(rows, columns, k - 1), zero, x))


def _matrix(node: Node) -> tuple[int, int]:
    if node.ndim < 2:
        raise ShapeError(f"a matrix has two dims, this tensor {node.ndim}")
    return node.shape[-2], node.shape[-1]


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[LazyTensor]:
    """Coordinate matrices of one-dimensional coordinates, as views.

    ``indexing``: ``"xy"`` puts the second array first, ``"ij"`` keeps the order. Raises
    ``ShapeError`` for tensors of more than one dim. Array API standard 2025.12, ``meshgrid``.

    >>> lt.meshgrid(lt.arange(2), lt.arange(3))[0].collect()
    array([[0, 1],
           [0, 1],
           [0, 1]])
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing={indexing!r} is neither 'xy' nor 'ij'")
    with about(*arrays):
        nodes = [build_views.reshape(x, 1) if x.ndim == 0 else x for x in map(as_node, arrays)]
        if any(node.ndim != 1 for node in nodes):
            raise ShapeError(f"meshgrid takes one dim each, found {[x.ndim for x in nodes]}")
        rank = len(nodes)
        order = list(range(rank))
        if indexing == "xy" and rank > 1:
            order[:2] = [1, 0]
        shape = [0] * rank
        for node, d in zip(nodes, order, strict=True):
            shape[d] = node.shape[0]
        out = []
        for node, d in zip(nodes, order, strict=True):
            spread = build_views.expand_dims(node, tuple(i for i in range(rank) if i != d))
            out.append(_wrap(build_views.broadcast_to(spread, shape)))
        return out
