"""Approximate quantiles in one pass: a deterministic summary that can be merged.

A summary is a sorted list of elements with weights: each stands for so many elements of about its
rank. Summaries of two sets together summarise the union without any loss; only *condensing* one of
total weight W to k elements of equal weight moves ranks, by at most W/k. So summaries are condensed
as seldom as possible, by the logarithmic method (Bentley and Saxe 1980) with buffers collapsed as
in Manku, Rajagopalan and Lindsay, "Approximate medians and other quantiles in one pass and with
limited memory" (SIGMOD 1998): 16 summaries of one level become one of the next. Every element is
condensed at most once a level, so that the error in rank of n elements is at most
(levels n / k): levels beyond the sixth are not condensed any more (16^7 blocks are 10^15 bytes),
which makes 7 n / 32 768 and, with half a level for what is kept in the end, n / 4369. That is a
guarantee for every input, not an average, and no random numbers are drawn: the same blocks merged
in the same order give the same bits.
"""

from __future__ import annotations

import numpy as np

__all__ = ["KEPT", "Ranks", "record_dtype"]

_SIZE = 1 << 15
"""Elements of a condensed summary."""

KEPT = 2 * _SIZE
"""Elements of the summary that is kept when all is merged."""

_FAN = 16
_LAST_LEVEL = 6

Summary = tuple[np.ndarray, np.ndarray]
"""Ascending elements and their weights."""


def record_dtype(dtype: np.dtype) -> np.dtype:
    """Records of an element and its weight.

    >>> record_dtype(np.dtype("f4")).names
    ('value', 'weight')
    """
    return np.dtype([("value", dtype), ("weight", np.int64)])


class Ranks:
    """The summaries of a set of elements, by level.

    >>> ranks = Ranks(np.arange(100.0))
    >>> ranks.extend(Ranks(np.arange(100.0, 200.0)))
    >>> records = ranks.records()
    >>> records["weight"].sum(), records["value"][150]
    (np.int64(200), np.float64(150.0))
    """

    __slots__ = ("dtype", "levels", "lost")

    def __init__(self, values: np.ndarray, weight: int = 1) -> None:
        self.dtype = values.dtype
        ordered = np.sort(values)
        self.lost = bool(np.isnan(ordered[-1:]).any())
        if len(ordered) > _SIZE:
            middle, weights = _stretches(len(ordered), _SIZE)
            summary = ordered[middle], weights * weight
        else:
            summary = ordered, np.full(len(ordered), weight, np.int64)
        self.levels: list[list[Summary]] = [[summary]]

    def extend(self, other: Ranks) -> None:
        """Add the elements of another one, which is used up."""
        self.lost |= other.lost
        for level, summaries in enumerate(other.levels):
            for summary in summaries:
                self._add(summary, level)

    def _add(self, summary: Summary, level: int) -> None:
        while len(self.levels) <= level:
            self.levels.append([])
        here = self.levels[level]
        here.append(summary)
        if len(here) == _FAN and level < _LAST_LEVEL:
            self.levels[level] = []
            self._add(_condensed(_union(here), _SIZE), level + 1)

    def records(self) -> np.ndarray:
        """At most ``KEPT`` elements with weights; a NaN for all if any element was one."""
        elements, weights = _condensed(_union([s for level in self.levels for s in level]), KEPT)
        out = np.empty(len(elements), record_dtype(self.dtype))
        out["value"], out["weight"] = elements, weights
        if self.lost:
            out["value"] = np.nan
        return out


def _union(summaries: list[Summary]) -> Summary:
    elements = np.concatenate([one for one, _ in summaries])
    weights = np.concatenate([one for _, one in summaries])
    order = np.argsort(elements, kind="stable")
    return elements[order], weights[order]


def _condensed(summary: Summary, size: int) -> Summary:
    """The summary itself if it is short, else ``size`` elements, each the middle of its stretch."""
    elements, weights = summary
    if len(elements) <= size:
        return summary
    ends = np.cumsum(weights)
    middle, spans = _stretches(int(ends[-1]), size)
    return elements[np.searchsorted(ends, middle, side="right")], spans


def _stretches(total: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks below ``total`` in ``size`` stretches: the rank in the middle of each, its length."""
    whole, rest = divmod(total, size)
    steps = np.arange(size + 1)
    edges = steps * whole + steps * rest // size
    spans = np.diff(edges)
    return edges[:-1] + spans // 2, spans
