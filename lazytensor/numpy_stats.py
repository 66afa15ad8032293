"""NumPy's statistics, with NumPy's arguments: entries for ``numpy_functions``.

Other ways to interpolate, weights and densities have no lazy twin; asking for one works on values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor import build, build_stats, build_views, functions_stats
from lazytensor.collecting import collect_implicitly
from lazytensor.numpy_twins import replace_tensors
from lazytensor.tensor import LazyTensor

__all__ = ["STATS_TWINS"]


def _on_values(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    def values(x: Any) -> np.ndarray:
        return collect_implicitly(x._node, f"np.{function.__name__}")

    return function(*replace_tensors(arguments, values), **replace_tensors(keywords, values))


def _lazy_quantile(a: Any, q: Any, axis: Any, keepdims: bool) -> LazyTensor:
    node = build.as_node(a)
    axes = build.normalize_axes(node, axis)
    found = build_stats.quantile(node, q, axes)
    if keepdims and axes:
        found = build_views.expand_dims(found, tuple(np.ndim(q) + d for d in axes))
    return LazyTensor._wrap(found)


def _quantile(
    a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False,
    weights: Any = None,
) -> Any:  # fmt: skip
    if method != "linear" or weights is not None:
        keywords = {"method": method, "keepdims": keepdims, "weights": weights}
        return _on_values(np.quantile, a, q, axis, **keywords)
    return _lazy_quantile(a, q, axis, keepdims)


def _percentile(
    a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False,
    weights: Any = None,
) -> Any:  # fmt: skip
    if method != "linear" or weights is not None:
        keywords = {"method": method, "keepdims": keepdims, "weights": weights}
        return _on_values(np.percentile, a, q, axis, **keywords)
    share = q / 100 if type(q) in (int, float) else np.true_divide(q, 100)
    return _lazy_quantile(a, share, axis, keepdims)


def _median(a: Any, axis: Any = None, *, keepdims: bool = False) -> LazyTensor:
    return _lazy_quantile(a, 0.5, axis, keepdims)


def _histogram(
    a: Any,
    bins: Any = 10,
    range: Any = None,
    density: Any = None,
    weights: Any = None,
) -> Any:
    if density or weights is not None or isinstance(bins, str):
        return _on_values(np.histogram, a, bins, range, density, weights)
    return functions_stats.histogram(a, bins, range)


def _ptp(a: Any, axis: Any = None, *, keepdims: bool = False) -> LazyTensor:
    low, high = (build.reduction(name, a, axis, keepdims) for name in ("min", "max"))
    return LazyTensor._wrap(high) - LazyTensor._wrap(low)


STATS_TWINS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.histogram: _histogram,
    np.median: _median,
    np.percentile: _percentile,
    np.ptp: _ptp,
    np.quantile: _quantile,
}
"""NumPy function to the function that does the same lazily, called with NumPy's arguments."""
