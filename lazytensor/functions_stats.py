"""Statistics as functions: ``stats``, ``quantile``, ``histogram``, ``minmax``, ``normalize``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytensor import build_stats
from lazytensor.build import AxisLike, as_node, normalize_axes, reduction
from lazytensor.callsite import about
from lazytensor.summaries import Stats
from lazytensor.tensor import LazyTensor

__all__ = ["histogram", "minmax", "normalize", "quantile", "stats"]


def stats(
    x: Any,
    *,
    axis: AxisLike = None,
    by: AxisLike = None,
    mask: Any = None,
    bins: Any = None,
    range: Any = None,
) -> Stats:
    """Statistics of a tensor that are read in one pass.

    Parameters
    ----------
    axis, by
        The dims to look along, or those to keep: numbers, names, or several; all are looked along
        by default.
    mask
        Boolean, broadcast to ``x``: only where it is True do elements count.
    bins, range
        Bins of the histogram: how many and between what, or all their edges.

    Returns an object with the lazy tensors ``count sum mean std min max``, ``histogram``,
    ``quantile(q)`` and ``collect()``. Raises ``DimensionError`` for dims that do not exist,
    ``TypeError`` for both ``axis`` and ``by``, ``DTypeError`` for a mask that is not boolean,
    ``ShapeError`` for one that does not broadcast, ``ValueError`` for bins that are none.

    >>> s = lt.stats(np.arange(10, dtype=np.uint8), mask=np.arange(10) >= 5)
    >>> lt.collect_all([s.count, s.mean, s.quantile(0.5)])
    [array(5), array(7.), array(7.)]
    """
    node = as_node(x)
    with about(x):
        axes = build_stats.reduced_axes(node, axis, by)
        counted = build_stats.masked(node, mask)
        if bins is not None or range is not None:
            build_stats.histogram(counted, bins, range, axes)  # says what is wrong with them
        return Stats(counted, axes, bins, range, x)


def quantile(x: Any, q: Any, *, axis: AxisLike = None, approx: bool = False) -> LazyTensor:
    """Quantiles along some axes, bit for bit those of ``numpy.quantile(method="linear")``.

    Parameters
    ----------
    q
        Between 0 and 1, a number or an array, whose dims come first in the result. Its values are
        needed now: a tensor is collected.
    axis
        One dim or several, by number or name; None for all.
    approx
        Be content with an element whose rank is off by at most 1/4096 of the number of elements,
        which is found in one pass whatever the dtype.

    Numbers of 16 bits take one pass over the data, of 32 bits two and of 64 bits four (one if the
    data fits into memory); many short lines are sorted in one. Any NaN gives NaN, and so do no
    elements. A Python number leaves floats their dtype, all else promotes as in NumPy. Raises
    ``ValueError`` for a q outside 0..1, ``DTypeError`` for what has no order.

    >>> lt.quantile(lt.asarray([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]]), [0.5, 1], axis=1).collect()
    array([[2., 5.],
           [4., 9.]])
    """
    node = as_node(x)
    with about(x):
        axes = normalize_axes(node, axis)
        return LazyTensor._wrap(build_stats.quantile(node, q, axes, approx=approx))


def histogram(
    x: Any,
    bins: Any = 10,
    range: Any = None,
) -> tuple[LazyTensor, LazyTensor]:
    """How many elements fall into each bin, and the edges of the bins, as ``numpy.histogram``.

    Parameters
    ----------
    bins
        How many of one width, or their edges in ascending order (a tensor is collected); None for
        one each value of integers of up to 16 bits.
    range
        The outer edges; by default the extremes of the data, for which it is read once more.

    Bins are half open, the last one closed. Elements outside count nowhere, NaN neither; but a
    range that is to be found in data with NaN or infinities is a ``ValueError`` when collected.
    Counts are int64. Raises ``ValueError`` for edges that do not ascend.

    >>> counts, edges = lt.histogram([1, 2, 2, 3], 2)
    >>> counts.collect(), edges.collect()
    (array([1, 3]), array([1., 2., 3.]))
    """
    node = as_node(x)
    with about(x):
        axes = tuple(np.arange(node.ndim).tolist())
        counts, edges = build_stats.histogram(node, bins, range, axes)
    return LazyTensor._wrap(counts), LazyTensor._wrap(edges)


def minmax(x: Any, *, axis: AxisLike = None) -> tuple[LazyTensor, LazyTensor]:
    """Minimum and maximum, as ``lt.min`` and ``lt.max``; collected together they read once.

    >>> lt.collect_all(lt.minmax([[3, 1], [2, 7]], axis=0))
    [array([2, 1]), array([3, 7])]
    """
    low, high = (LazyTensor._wrap(reduction(name, x, axis)) for name in ("min", "max"))
    return low, high


def normalize(
    x: Any,
    *,
    percentiles: Sequence[float] | None = None,
    window: Sequence[Any] | None = None,
    zscore: bool = False,
    by: AxisLike = None,
    clip: bool = True,
    dtype: Any = np.float32,
) -> LazyTensor:
    """Values brought to a common scale: ``(x - low) / (high - low)``.

    Parameters
    ----------
    percentiles
        The limits are these percentiles of ``x`` (0 to 100), such as ``(1, 99.8)``.
    window
        The limits themselves: numbers, or tensors with the kept dims.
    zscore
        ``(x - mean) / std`` instead.
    by
        The dims that have limits for each of their positions; by default ``"c"`` if there is such
        a dim, ``()`` for limits of the whole.
    clip
        Keep results between 0 and 1 (not with ``zscore``).
    dtype
        Of the result: float64, or a smaller float. Of a smaller one all steps are in float32:
        ``x``, ``low`` and ``high`` are converted, then subtracted and divided as written.

    Where high equals low (or the deviation is 0) the result is 0. The limits are those of the
    tensor given, also for a later slice of the result. A window whose high end is the lower one
    turns the scale round. Raises ``TypeError`` unless exactly one of ``percentiles``, ``window``
    and ``zscore`` is given, ``ValueError`` for percentiles that do not ascend between 0 and 100,
    ``DTypeError`` for what are no real numbers, ``ShapeError`` for limits that do not fit.

    >>> lt.normalize(np.array([0, 5, 10, 20], np.uint8), window=(0, 10)).collect()
    array([0. , 0.5, 1. , 1. ], dtype=float32)
    """
    node = as_node(x)
    with about(x):
        return LazyTensor._wrap(
            build_stats.normalize(
                node,
                percentiles=percentiles,
                window=window,
                zscore=zscore,
                by=by,
                clip=clip,
                dtype=dtype,
            )
        )
