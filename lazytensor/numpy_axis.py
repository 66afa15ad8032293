"""NumPy's functions along one axis, with NumPy's arguments: entries for ``numpy_functions``.

NumPy says ``axis=None`` for the flat array where the standard has no such thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor import functions_axis, functions_manipulate
from lazytensor.tensor import LazyTensor

__all__ = ["AXIS_TWINS"]

_LEFT_OUT: Any = object()


def _flat(a: Any, axis: Any) -> tuple[Any, Any]:
    return (functions_manipulate.reshape(a, (-1,)), 0) if axis is None else (a, axis)


def _sort(a: Any, axis: Any = -1, kind: Any = None, *, stable: Any = None) -> LazyTensor:
    x, where = _flat(a, axis)
    return functions_axis.sort(x, axis=where)


def _argsort(a: Any, axis: Any = -1, kind: Any = None, *, stable: Any = None) -> LazyTensor:
    x, where = _flat(a, axis)
    return functions_axis.argsort(x, axis=where)


def _cumsum(a: Any, axis: Any = None, dtype: Any = None) -> LazyTensor:
    x, where = _flat(a, axis)
    return functions_axis.cumulative_sum(x, axis=where, dtype=dtype)


def _cumprod(a: Any, axis: Any = None, dtype: Any = None) -> LazyTensor:
    x, where = _flat(a, axis)
    return functions_axis.cumulative_prod(x, axis=where, dtype=dtype)


def _diff(
    a: Any, n: int = 1, axis: Any = -1, prepend: Any = _LEFT_OUT, append: Any = _LEFT_OUT
) -> LazyTensor:
    edges = {"prepend": prepend, "append": append}
    # Python scalars are arrays to NumPy here, and raise the dtype.
    given = {
        name: edge if hasattr(edge, "_node") else np.asarray(edge)
        for name, edge in edges.items()
        if edge is not _LEFT_OUT
    }
    return functions_axis.diff(a, axis=axis, n=n, **given)


def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> LazyTensor:
    x, where = _flat(arr, axis)
    return functions_axis.take_along_axis(x, indices, axis=where)


def _searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> LazyTensor:
    return functions_axis.searchsorted(a, v, side=side, sorter=sorter)


def _isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: Any = None,
) -> LazyTensor:
    return functions_axis.isin(element, test_elements, invert=invert)


AXIS_TWINS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.argsort: _argsort,
    np.cumprod: _cumprod,
    np.cumsum: _cumsum,
    np.diff: _diff,
    np.isin: _isin,
    np.searchsorted: _searchsorted,
    np.sort: _sort,
    np.take_along_axis: _take_along_axis,
}
"""NumPy function to its lazy twin."""

# These came with NumPy 2.1.
for _name in ("cumulative_prod", "cumulative_sum"):
    if hasattr(np, _name):
        AXIS_TWINS[getattr(np, _name)] = getattr(functions_axis, _name)
