"""What is concluded from the counts of all values: bins, and statistics of integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.exec.kernels.bins import bin_numbers, check_edges
from lazytensor.exec.kernels.order import from_keys, keyed_dtype
from lazytensor.exec.streamed import Computed, Made
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.node import Node
from lazytensor.plan.ops_sketch import nothing_selected

__all__ = ["BinnedCounts", "StatisticOfCounts"]

_MANY = 1 << 46
"""From so many elements on, a sum of 16-bit integers could leave 64 bits."""


class BinnedCounts(Made, Computed):
    """Bins from the counts of every value that there is; ``window`` is the histogram's domain."""

    __slots__ = ("counts", "edges", "of", "window")
    fields = ("counts", "edges", "of", "window")
    counts: Node
    edges: Node
    of: np.dtype
    window: IndexDomain

    def _prepare(self) -> None:
        self._set((self.counts, self.edges), self.window, np.dtype(np.int64))

    def compute(self, *inputs: np.ndarray) -> np.ndarray:
        """Every value's count is added to its bin."""
        counts, edges = inputs
        check_edges(edges)
        size = counts.shape[-1]
        values = from_keys(np.arange(size), keyed_dtype(self.of))
        numbers, inside = bin_numbers(values, edges)
        rows = counts.reshape(-1, size)[:, inside]
        out = np.zeros((len(rows), self.shape[-1]), np.int64)
        for row, target in zip(rows, out, strict=True):
            np.add.at(target, numbers, row)
        return out.reshape(self.shape)


class StatisticOfCounts(Made, Computed):
    """A statistic of integers from the counts of all values."""

    __slots__ = ("correction", "counts", "of", "op", "to", "window")
    fields = ("counts", "op", "correction", "window", "to", "of")
    counts: Node
    op: str
    correction: float
    window: IndexDomain
    to: np.dtype
    of: np.dtype

    def _prepare(self) -> None:
        self._set((self.counts,), self.window, self.to)

    def compute(self, *inputs: np.ndarray) -> np.ndarray:
        """Position by position; sums are exact modulo 2^64, as they are without counts."""
        size = inputs[0].shape[-1]
        rows = inputs[0].reshape(-1, size)
        values = from_keys(np.arange(size), keyed_dtype(self.of)).astype(np.int64)
        found = [_STATISTICS[self.op](self, row, values) for row in rows]
        out = np.empty(len(rows), self.to)
        for i, value in enumerate(found):
            out[i] = value
        return out.reshape(self.shape)


def _count_of(node: StatisticOfCounts, counts: np.ndarray, values: np.ndarray) -> Any:
    return counts.sum()


def _sum_of(node: StatisticOfCounts, counts: np.ndarray, values: np.ndarray) -> Any:
    return np.multiply(counts, values).sum().astype(node.to)


def _mean_of(node: StatisticOfCounts, counts: np.ndarray, values: np.ndarray) -> Any:
    total = counts.sum()
    if total < _MANY:
        return np.multiply(counts, values).sum() / total if total else np.nan
    return (values * (counts / total)).sum()


def _variance_of(node: StatisticOfCounts, counts: np.ndarray, values: np.ndarray) -> Any:
    """Sum of squared deviations, less what is left of the mean's own rounding error."""
    total = counts.sum()
    if not total:
        return np.nan
    deviation = values - _mean_of(node, counts, values)
    squares = (counts * deviation * deviation).sum()
    squares = np.maximum(squares - (counts * deviation).sum() ** 2 / total, 0)
    with np.errstate(all="ignore"):
        freedom = total - node.correction
        return squares / freedom if freedom > 0 else np.nan


def _deviation_of(node: StatisticOfCounts, counts: np.ndarray, values: np.ndarray) -> Any:
    return np.sqrt(_variance_of(node, counts, values))


def _extreme_of(node: StatisticOfCounts, counts: np.ndarray, values: np.ndarray) -> Any:
    found = values[counts != 0]
    if not len(found):
        raise nothing_selected(node.op, node.to)
    return found[0 if node.op == "min" else -1]


_STATISTICS: dict[str, Callable[[StatisticOfCounts, np.ndarray, np.ndarray], Any]] = {
    "count": _count_of,
    "max": _extreme_of,
    "mean": _mean_of,
    "min": _extreme_of,
    "std": _deviation_of,
    "sum": _sum_of,
    "var": _variance_of,
}
