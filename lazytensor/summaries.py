"""``Stats``: statistics of one tensor that are read together.

Each of them is an ordinary lazy tensor; what makes them one thing is that they look at the same
elements along the same axes, so that collecting several reads the data once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytensor import build_stats
from lazytensor.callsite import about
from lazytensor.collecting import EVERY_PASS, run
from lazytensor.config import QueryOptFlags
from lazytensor.plan.node import Node
from lazytensor.plan.ops_sketch import element_dtype
from lazytensor.tensor import LazyTensor

__all__ = ["Stats", "StatsValues"]


@dataclass(frozen=True, slots=True, eq=False)
class StatsValues:
    """What ``Stats.collect`` gives: an array for each statistic.

    ``histogram`` is ``(counts, edges)``; None where nobody said which bins, and finding them would
    take another pass.
    """

    count: np.ndarray
    sum: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    min: np.ndarray
    max: np.ndarray
    histogram: tuple[np.ndarray, np.ndarray] | None


class Stats:
    """Lazy statistics of a tensor, along some axes, of all elements or of those under a mask.

    Made by ``lt.stats``. Every attribute is a ``LazyTensor`` with the kept dims. Collected
    together, by ``collect`` or ``lt.collect_all``, they read the tensor once.

    >>> s = lt.stats(np.array([[1, 2], [3, 6]], np.uint8), by=0)
    >>> s
    Stats(2) over axes (1,) of 4 elements uint8
    >>> s.mean.collect(), s.max.collect()
    (array([1.5, 4.5]), array([2, 6], dtype=uint8))
    """

    __slots__ = ("_axes", "_bins", "_node", "_range", "_x")

    def __init__(self, node: Node, axes: tuple[int, ...], bins: Any, range: Any, x: Any) -> None:
        self._node = node
        self._axes = axes
        self._bins = bins
        self._range = range
        self._x = x

    def __repr__(self) -> str:
        kept = ", ".join(
            f"{label}: {n}" if label else str(n)
            for d, (label, n) in enumerate(
                zip(self._node.domain.labels, self._node.shape, strict=True)
            )
            if d not in self._axes
        )
        dtype = element_dtype(self._node.dtype)
        return f"Stats({kept}) over axes {self._axes} of {self._node.size} elements {dtype}"

    def _statistic(self, name: str) -> LazyTensor:
        with about(self._x):
            return LazyTensor._wrap(build_stats.statistic(name, self._node, self._axes))

    @property
    def count(self) -> LazyTensor:
        """Number of elements (int64): of those the mask selects, if there is one."""
        return LazyTensor._wrap(build_stats.count(self._node, self._axes))

    @property
    def sum(self) -> LazyTensor:
        """Their sum, as ``lt.sum``; 0 of none."""
        return self._statistic("sum")

    @property
    def mean(self) -> LazyTensor:
        """Their mean, as ``lt.mean``; NaN of none."""
        return self._statistic("mean")

    @property
    def std(self) -> LazyTensor:
        """Their standard deviation, as ``lt.std`` (divided by their number); NaN of none."""
        return self._statistic("std")

    @property
    def min(self) -> LazyTensor:
        """The least one; NaN if any is NaN. Of no floats it is NaN, of no integers an error."""
        return self._statistic("min")

    @property
    def max(self) -> LazyTensor:
        """The largest one; NaN if any is NaN. Of no floats it is NaN, of no integers an error."""
        return self._statistic("max")

    @property
    def histogram(self) -> tuple[LazyTensor, LazyTensor]:
        """Counts (kept dims, then the bins; int64) and the edges of the bins, both lazy.

        Bins are what ``lt.stats`` was told, else one for each value of integers of up to 16 bits,
        else 256 between the extremes, for which the tensor is read once more.

        >>> counts, edges = lt.stats([0.0, 0.5, 1.0, 7.0], bins=2, range=(0, 1)).histogram
        >>> counts.collect(), edges.collect()
        (array([1, 2]), array([0. , 0.5, 1. ]))
        """
        with about(self._x):
            nodes = build_stats.histogram(self._node, self._bins, self._range, self._axes)
        counts, edges = map(LazyTensor._wrap, nodes)
        return counts, edges

    def quantile(self, q: Any, approx: bool = False) -> LazyTensor:
        """Quantiles, as ``lt.quantile``; the dims of ``q`` come first.

        Of bools and numbers of 8 or 16 bits they are found in the same pass as everything else,
        of 32 and 64 bits by one and three passes more. ``approx`` stays in the one pass: each is
        an element whose rank is off by at most 1/4096 of the number of elements.

        >>> lt.stats(np.arange(101, dtype=np.uint8)).quantile([0.1, 0.5]).collect()
        array([10., 50.])
        """
        with about(self._x):
            return LazyTensor._wrap(build_stats.quantile(self._node, q, self._axes, approx=approx))

    def collect(
        self,
        *,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
        progress: Any = None,
    ) -> StatsValues:
        """All of them at once: the tensor is read in one pass. Arguments as ``LazyTensor.collect``.

        The histogram is among them if its bins are known beforehand, or were asked for: a number
        of bins without a range takes a pass more.

        >>> lt.stats(np.array([1.0, 2.0, 6.0])).collect()
        StatsValues(count=array(3), sum=array(9.), mean=array(3.), std=array(2.1602469), ...
        """
        tensors = [self.count, self.sum, self.mean, self.std, self.min, self.max]
        if self._has_bins():
            tensors += self.histogram
        with about(self._x):
            values = run(
                [x._node for x in tensors],
                engine=engine,
                optimizations=optimizations,
                progress=progress,
            )
        count, total, mean, std, low, high = values[:6]
        histogram = (values[6], values[7]) if len(values) > 6 else None
        return StatsValues(count, total, mean, std, low, high, histogram)

    def _has_bins(self) -> bool:
        if self._range is not None or self._bins is not None:
            return True
        dtype = element_dtype(self._node.dtype)
        return dtype.kind in "biu" and dtype.itemsize <= 2
