"""NumPy functions that put arrays beside each other, take them apart or turn them around.

All of them are views, joins and single operations of this package under another name. They are
apart from ``numpy_functions`` as the standard has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lazytensor import _operations as lazy
from lazytensor import build, build_views
from lazytensor import functions_contract as contract
from lazytensor import functions_join as join
from lazytensor import functions_manipulate as manipulate
from lazytensor.errors import ShapeError
from lazytensor.per_dim import dim_number
from lazytensor.plan.align import describe_shape
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.output_map import single_map
from lazytensor.tensor import LazyTensor

__all__ = ["ARRANGING_TWINS"]


def _tensor(x: Any) -> LazyTensor:
    return LazyTensor._wrap(build.as_node(x))


def _at_least(count: int, *arrays: Any) -> Any:
    made = [_grown(_tensor(x), count) for x in arrays]
    return made[0] if len(made) == 1 else tuple(made)


def _grown(x: LazyTensor, count: int) -> LazyTensor:
    """With new dims of size 1, where NumPy puts them."""
    if count == 3 and x.ndim == 2:
        return manipulate.expand_dims(x, axis=2)
    if count == 3 and x.ndim == 1:
        return manipulate.expand_dims(x, axis=(0, 2))
    return manipulate.expand_dims(x, axis=tuple(range(count - x.ndim))) if x.ndim < count else x


def _vstack(tup: Sequence[Any]) -> LazyTensor:
    return join.concat([_at_least(2, x) for x in tup], axis=0)


def _hstack(tup: Sequence[Any]) -> LazyTensor:
    rows = [_at_least(1, x) for x in tup]
    return join.concat(rows, axis=0 if rows[0].ndim == 1 else 1)


def _dstack(tup: Sequence[Any]) -> LazyTensor:
    return join.concat([_at_least(3, x) for x in tup], axis=2)


def _column_stack(tup: Sequence[Any]) -> LazyTensor:
    columns = [_tensor(x) for x in tup]
    return join.concat(
        [_grown(x, 2).T if x.ndim < 2 else x for x in columns],
        axis=1,
    )


def _append(arr: Any, values: Any, axis: Any = None) -> LazyTensor:
    parts = [_tensor(arr), _tensor(values)]
    if axis is None:
        parts, axis = [manipulate.reshape(x, (-1,)) for x in parts], 0
    return join.concat(parts, axis=axis)


def _array_split(ary: Any, indices_or_sections: Any, axis: Any = 0) -> list[LazyTensor]:
    node = build.as_node(ary)
    d = dim_number(node.domain, axis)
    n = node.shape[d]
    if isinstance(indices_or_sections, (int, np.integer)):
        count = int(indices_or_sections)
        if count <= 0:
            raise ShapeError(f"split: {count} sections; the number must be positive")
        size, more = divmod(n, count)
        edges = [i * size + min(i, more) for i in range(count + 1)]
    else:
        cuts = [slice(None, int(i)).indices(n)[1] for i in indices_or_sections]
        edges = [0, *cuts, n]
    return [LazyTensor._wrap(build_views.sliced(node, d, a, b)) for a, b in pairwise(edges)]


def _split(ary: Any, indices_or_sections: Any, axis: Any = 0) -> list[LazyTensor]:
    node = build.as_node(ary)
    n = node.shape[dim_number(node.domain, axis)]
    if isinstance(indices_or_sections, (int, np.integer)) and n % int(indices_or_sections):
        raise ShapeError(f"split: {n} positions do not divide into {indices_or_sections} parts")
    return _array_split(ary, indices_or_sections, axis)


def _along(axis: int) -> Callable[..., list[LazyTensor]]:
    return lambda ary, indices_or_sections: _split(ary, indices_or_sections, axis)


def _hsplit(ary: Any, indices_or_sections: Any) -> list[LazyTensor]:
    return _split(ary, indices_or_sections, 0 if build.as_node(ary).ndim == 1 else 1)


def _rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> LazyTensor:
    x = _tensor(m)
    a, b = (dim_number(x.domain, axis) for axis in axes)
    if a == b:
        raise ShapeError(f"rot90: axes {axes} are the same")
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    turns = k % 4
    if turns == 0:
        return x
    if turns == 2:
        return manipulate.flip(x, axis=(a, b))
    if turns == 1:
        return manipulate.permute_dims(manipulate.flip(x, axis=b), order)
    return manipulate.flip(manipulate.permute_dims(x, order), axis=b)


def _rollaxis(a: Any, axis: int, start: int = 0) -> LazyTensor:
    x = _tensor(a)
    d = dim_number(x.domain, axis)
    place = start + x.ndim if start < 0 else start
    if not 0 <= place <= x.ndim:
        raise ShapeError(f"rollaxis: {start} is no place among {x.ndim} dims")
    return manipulate.moveaxis(x, d, place - 1 if place > d else place)


def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> LazyTensor:
    node = build.as_node(a)
    if node.ndim < 2:
        raise ShapeError(
            f"diagonal takes two dims or more, {describe_shape(node.domain)} has {node.ndim}"
        )
    one, other = dim_number(node.domain, axis1), dim_number(node.domain, axis2)
    if one == other:
        raise ShapeError(f"diagonal takes two different axes, not {axis1} and {axis2}")
    rows, columns = max(0, -offset), max(0, offset)
    length = max(0, min(node.shape[one] - rows, node.shape[other] - columns))
    kept = [d for d in range(node.ndim) if d not in (one, other)]
    base = node.domain
    domain = IndexDomain._make(
        (*[base.inclusive_min[d] for d in kept], 0),
        (*[base.exclusive_max[d] for d in kept], length),
        (*[base.labels[d] for d in kept], ""),
    )
    starts = {one: rows, other: columns}
    maps = [
        single_map(len(kept), base.inclusive_min[d] + starts[d], 1)
        if d in starts
        else single_map(kept.index(d), 0, 1)
        for d in range(node.ndim)
    ]
    return LazyTensor._wrap(build_views.view_maps(node, domain, maps))


def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> LazyTensor:
    return lazy.sum(_diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


def _isclose(
    a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> LazyTensor:
    """``|a - b| <= atol + rtol * |b|`` for finite ``b``, equality for the others."""
    node = build.as_node(b)
    if node.dtype.kind not in "fc":
        # As NumPy does, so that differences of integers do not wrap around.
        b = LazyTensor._wrap(build_views.cast(node, np.result_type(node.dtype, 1.0)))
    bound = lazy.add(lazy.multiply(lazy.abs(b), rtol), atol)
    near = lazy.less_equal(lazy.abs(lazy.subtract(a, b)), bound)
    close = lazy.logical_or(lazy.logical_and(near, lazy.isfinite(b)), lazy.equal(a, b))
    if not equal_nan:
        return close
    return lazy.logical_or(close, lazy.logical_and(lazy.isnan(a), lazy.isnan(b)))


def _inner(a: Any, b: Any) -> LazyTensor:
    x, y = _tensor(a), _tensor(b)
    if not x.ndim or not y.ndim:
        return lazy.multiply(x, y)
    return contract.tensordot(x, y, axes=([x.ndim - 1], [y.ndim - 1]))


def _outer(a: Any, b: Any) -> LazyTensor:
    # One product each: a sum of them, even of one, would lose the sign of a zero.
    return lazy.multiply(_flat(a)[:, None], _flat(b)[None])


def _vdot(a: Any, b: Any) -> LazyTensor:
    return contract.vecdot(_flat(a), _flat(b))


def _flat(x: Any) -> LazyTensor:
    return manipulate.reshape(x, (-1,))


def _matvec(x1: Any, x2: Any, /) -> LazyTensor:
    column = manipulate.expand_dims(x2, axis=-1)
    return manipulate.squeeze(contract.matmul(x1, column), axis=-1)


def _vecmat(x1: Any, x2: Any, /) -> LazyTensor:
    row = manipulate.expand_dims(lazy.conj(x1), axis=-2)
    return manipulate.squeeze(contract.matmul(row, x2), axis=-2)


def _is_complex(x: Any) -> bool:
    return build.as_node(x).dtype.kind == "c"


def _is_infinite(sign: float) -> Callable[[Any], LazyTensor]:
    return lambda x: lazy.equal(x, sign * np.inf)


ARRANGING_TWINS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.append: _append,
    np.array_split: _array_split,
    np.atleast_1d: lambda *arys: _at_least(1, *arys),
    np.atleast_2d: lambda *arys: _at_least(2, *arys),
    np.atleast_3d: lambda *arys: _at_least(3, *arys),
    np.column_stack: _column_stack,
    np.copy: lambda a: _tensor(a),
    np.diagonal: _diagonal,
    np.divmod: lambda x1, x2, /: (lazy.floor_divide(x1, x2), lazy.remainder(x1, x2)),
    np.dsplit: _along(2),
    np.dstack: _dstack,
    np.fliplr: lambda m: manipulate.flip(m, axis=1),
    np.flipud: lambda m: manipulate.flip(m, axis=0),
    np.hsplit: _hsplit,
    np.hstack: _hstack,
    np.inner: _inner,
    np.iscomplexobj: _is_complex,
    np.isclose: _isclose,
    np.isneginf: _is_infinite(-1),
    np.isposinf: _is_infinite(1),
    np.isrealobj: lambda x: not _is_complex(x),
    np.outer: _outer,
    np.rollaxis: _rollaxis,
    np.rot90: _rot90,
    np.split: _split,
    np.trace: _trace,
    np.vdot: _vdot,
    np.vsplit: _along(0),
    np.vstack: _vstack,
}
"""NumPy function to the function that does the same lazily, called with NumPy's arguments."""


def _linalg_outer(x1: Any, x2: Any, /) -> LazyTensor:
    for x in map(build.as_node, (x1, x2)):
        if x.ndim != 1:
            raise ShapeError(f"outer takes vectors, not {describe_shape(x.domain)}; flatten it")
    return _outer(x1, x2)


ARRANGING_TWINS |= {
    np.linalg.diagonal: lambda x, /, *, offset=0: _diagonal(x, offset, -2, -1),
    np.linalg.matmul: lambda x1, x2, /: contract.matmul(x1, x2),
    np.linalg.matrix_transpose: lambda x, /: manipulate.matrix_transpose(x),
    np.linalg.outer: _linalg_outer,
    np.linalg.tensordot: lambda x1, x2, /, *, axes=2: contract.tensordot(x1, x2, axes=axes),
    np.linalg.trace: lambda x, /, *, offset=0, dtype=None: _trace(x, offset, -2, -1, dtype),
    np.linalg.vecdot: lambda x1, x2, /, *, axis=-1: contract.vecdot(x1, x2, axis=axis),
}

for _name, _twin in (("matvec", _matvec), ("vecmat", _vecmat)):
    if hasattr(np, _name):  # since NumPy 2.2
        ARRANGING_TWINS[getattr(np, _name)] = _twin
