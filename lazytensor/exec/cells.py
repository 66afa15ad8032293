"""Sets of read cells, counted without listing them.

What a plan reads of one source is a union of products: per dimension some cells, all combinations
of them. The union is counted exactly by sorting the cells of each dimension into classes by *which
of the products they belong to*: a combination is in the union if some product contains all its
parts, that is if the bit sets of its classes have a bit in common. Folding one dimension after the
other keeps one number per bit set, whatever the number of cells.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import TypeAlias

import numpy as np

from lazytensor.plan.source import Source

__all__ = ["CellUnion", "Cells"]

Cells: TypeAlias = "Sequence[range | np.ndarray]"
"""Per dimension the stored cells (ascending, distinct); the set is their product."""

_Run = tuple[int, int]
_GOLDEN = (5**0.5 - 1) / 2


_FEW = 1 << 20
"""So many cells, of many products, are listed rather than told apart by who holds them."""
_MANY_PARTS = 32


class CellUnion:
    """The union of products of cells of one source.

    ``count`` cells, with ``elements`` array elements in them. Along dims without cells of their own
    (free ones, of which any part can be read) products are of positions; they count as one cell.
    """

    def __init__(self, source: Source, parts: Sequence[Cells]) -> None:
        self._source = source
        self._parts = _distinct([part for part in parts if all(len(cells) for cells in part)])
        self._padded = getattr(source, "padded", False)
        free = [cells is not None and cells.free for cells in source.spec.grid]
        self.count, self.elements = self._measure()
        if any(free):
            self._parts = _distinct(
                [
                    [range(1) if f else cells for f, cells in zip(free, part, strict=True)]
                    for part in self._parts
                ]
            )
            self.count, _ = self._measure()

    def _measure(self) -> tuple[int, int]:
        """Number of cells, and of array elements in them."""
        parts = self._parts
        if not parts:
            return 0, 0
        if len(parts) > _MANY_PARTS:
            listed = sum(math.prod(map(len, part)) for part in parts)
            if listed <= _FEW:
                return self._measure_listed()
        every = (1 << len(parts)) - 1
        sums: dict[int, tuple[int, int]] = {every: (1, 1)}
        for d in range(self._source.spec.ndim):
            classes = self._classes(d)
            folded: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
            for (a, (count, size)), (b, (n, extent)) in product(sums.items(), classes.items()):
                if a & b:
                    before = folded[a & b]
                    folded[a & b] = (before[0] + count * n, before[1] + size * extent)
            sums = folded
        return sum(n for n, _ in sums.values()), sum(size for _, size in sums.values())

    def _measure_listed(self) -> tuple[int, int]:
        """The same by a list of all cells."""
        rank = self._source.spec.ndim
        tops = [max(int(part[d][-1]) for part in self._parts) + 1 for d in range(rank)]
        flat = [
            np.ravel_multi_index(np.ix_(*part), tops).reshape(-1) if rank else np.zeros(1, np.intp)
            for part in self._parts
        ]
        cells = np.unravel_index(np.unique(np.concatenate(flat)), tops)
        extents = [
            np.array([self._extent(d, c, c + 1) for c in range(top)], object)[along]
            for d, (top, along) in enumerate(zip(tops, cells, strict=True))
        ]
        total = int(np.sum(math.prod(extents))) if extents else 1
        return len(cells[0]) if rank else 1, total

    def _classes(self, d: int) -> dict[int, tuple[int, int]]:
        """Cells of dim ``d`` by the set of products they belong to: how many, and their extent."""
        changes: dict[int, int] = defaultdict(int)
        for i, part in enumerate(self._parts):
            for start, stop in _runs(part[d]):
                changes[start] ^= 1 << i
                changes[stop] ^= 1 << i
        out: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
        inside = 0
        for start, stop in pairwise(sorted(changes)):
            inside ^= changes[start]
            if inside:
                n, extent = out[inside]
                out[inside] = (n + stop - start, extent + self._extent(d, start, stop))
        return out

    def _extent(self, d: int, start: int, stop: int) -> int:
        """Array elements along ``d`` in the cells ``[start, stop)``."""
        size, cells = self._source.spec.shape[d], self._source.spec.grid[d]
        if cells is None:
            return size
        if cells.free:
            return stop - start
        if self._padded:
            size = max(size, stop * cells.chunk)
        return cells.stored_extent(stop - 1, size)[1] - cells.stored_extent(start, size)[0]

    def sample(self, limit: int | None) -> list[tuple[int, ...]]:
        """About ``limit`` distinct cells spread over the union, or all of them (None)."""
        if limit is None:
            return sorted({cell for part in self._parts for cell in _all_of(part)})
        each = -(-limit // max(1, len(self._parts)))
        return sorted({cell for part in self._parts[:limit] for cell in _spread(part, each)})


def _distinct(parts: list[Cells]) -> list[Cells]:
    """The same products without those that were given before."""
    if len(parts) < 2:
        return parts
    seen: dict[object, Cells] = {}
    for part in parts:
        key = tuple([c if isinstance(c, range) else c.tobytes() for c in part])
        seen.setdefault(key, part)
    return list(seen.values())


def _runs(cells: range | np.ndarray) -> Iterator[_Run]:
    """Stretches of consecutive cells."""
    if isinstance(cells, range):
        yield cells.start, cells.stop
        return
    breaks = np.flatnonzero(np.diff(cells) != 1) + 1
    for run in np.split(cells, breaks):
        yield int(run[0]), int(run[-1]) + 1


def _all_of(part: Cells) -> Iterator[tuple[int, ...]]:
    return product(*([int(c) for c in cells] for cells in part))


def _spread(part: Cells, limit: int) -> Iterator[tuple[int, ...]]:
    """At most ``limit`` cells of a product, spread over it.

    Even steps would fall into step with the grid (and, say, never meet its last column); multiples
    of the golden ratio, modulo 1, are spread evenly and in step with nothing.
    """
    total = math.prod(len(cells) for cells in part)
    count = min(limit, total)
    for k in range(count):
        number = k if count == total else int(k * _GOLDEN % 1 * total)
        cell = []
        for cells in reversed(part):
            number, i = divmod(number, len(cells))
            cell.append(int(cells[i]))
        yield tuple(reversed(cell))
