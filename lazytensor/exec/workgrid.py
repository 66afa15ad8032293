"""Cutting an output into the boxes that tasks compute.

A task should read whole stored units, so that each is decoded once, and be big enough for its
overhead not to matter. The read grid of the plan's root says where units begin; cells are grouped
until a task moves about ``TARGET`` bytes, those of one stored object (a shard) first. Where there
is no grid, or cells cost nothing to cut, boxes are cut freely. Blocks are numbered and worked out
one by one: an output of 10^8 chunks has a grid of a few numbers.

The cut depends on the plan alone, never on the number of threads, so that sums come out the same.
Only where nothing is summed, and values flow through a task without waiting in memory, tasks are
larger where few threads share them: then what Python does for each is all that is to be saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box

__all__ = [
    "TARGET", "WorkGrid", "choose_grid", "even_grid", "middle_of", "stays_whole", "task_bytes",
]  # fmt: skip

TARGET = 8 << 20
"""Bytes a task should move: large enough that the 50-100 us of planning it are about a per cent,
small enough to balance and to stay near the caches."""

_SMALLEST = 1 << 20
_ENOUGH_TASKS = 16
"""A small result is cut finer than ``TARGET``, into about so many tasks, as long as they move
``_SMALLEST`` bytes each."""

_FLOWING = 4
"""Times ``TARGET``: what a task may move whose values do not wait in memory for the next step."""

_TASKS_A_THREAD = 8
"""So many of those each thread should have at least, so that all end at about the same time."""

_MANY_EDGES = 1 << 16

_WORTHWHILE = 0.75
"""What a block of half the extent (or less) may cost of the one before, to be worth the cut."""


class _Cut:
    """Blocks along one dim: of one ``size`` after a shorter ``lead``, or between ``edges``."""

    __slots__ = ("edges", "extent", "lead", "size")

    def __init__(
        self, extent: int, size: int, lead: int = 0, edges: list[int] | None = None
    ) -> None:
        self.extent = extent
        self.size = max(1, size)
        self.lead = lead % self.size if edges is None else 0
        self.edges = edges

    @property
    def count(self) -> int:
        if self.extent == 0:
            return 0
        if self.edges is not None:
            return len(self.edges) - 1
        if self.lead >= self.extent:
            return 1
        return (1 if self.lead else 0) + -(-(self.extent - self.lead) // self.size)

    def interval(self, i: int) -> tuple[int, int]:
        if self.edges is not None:
            return self.edges[i], self.edges[i + 1]
        if self.lead:
            i -= 1
        lo = self.lead + i * self.size
        return max(0, lo), min(self.extent, lo + self.size)

    def longest(self) -> int:
        """Number of a longest block; one from the inside where they are alike."""
        if self.edges is not None:
            extents = [b - a for a, b in pairwise(self.edges)]
            return extents.index(max(extents))
        count = self.count
        if count != 2:
            return count // 2
        (a, middle), (_, b) = self.interval(0), self.interval(1)
        return 1 if b - middle > middle - a else 0


class WorkGrid:
    """Numbered blocks that tile a domain, in C order."""

    __slots__ = ("counts", "cuts", "origin")

    def __init__(self, cuts: list[_Cut], origin: tuple[int, ...]) -> None:
        self.cuts = cuts
        self.origin = origin
        self.counts = tuple(cut.count for cut in cuts)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return math.prod(self.counts)

    def box(self, number: int) -> Box:
        """Coordinates of a block."""
        index = []
        for n in reversed(self.counts):
            number, i = divmod(number, n)
            index.append(i)
        return self.box_at(tuple(reversed(index)))

    def box_at(self, index: tuple[int, ...]) -> Box:
        """Coordinates of the block with this number per dim."""
        out = []
        for cut, i, lo in zip(self.cuts, index, self.origin, strict=True):
            a, b = cut.interval(i)
            out.append((a + lo, b + lo))
        return tuple(out)

    def largest(self) -> Box:
        """A block that is as long as any along every dim, as a sample of what a task costs."""
        return self.box_at(tuple(cut.longest() for cut in self.cuts))


Cost = Callable[[Box], int]


def stays_whole(nbytes: int, most: int) -> bool:
    """Whether ``choose_grid`` makes one block of a plan that moves ``nbytes``, whatever its cells.

    >>> stays_whole(1 << 20, 1 << 30), stays_whole(1 << 20, 1000)
    (True, False)
    """
    return nbytes <= min(most, TARGET, _SMALLEST)


def task_bytes(total: int) -> int:
    """Bytes that a task should move of a run that moves ``total``.

    >>> task_bytes(1 << 40) >> 20, task_bytes(32 << 20) >> 20, task_bytes(1000) >> 20
    (8, 2, 1)
    """
    return min(TARGET, max(_SMALLEST, total // _ENOUGH_TASKS))


def even_grid(node: Node, sizes: Sequence[int]) -> WorkGrid:
    """Blocks of one size, counted from the first element; the last along a dim may be shorter."""
    cuts = [_Cut(n, size) for n, size in zip(node.shape, sizes, strict=True)]
    return WorkGrid(cuts, node.domain.inclusive_min)


def choose_grid(node: Node, cost: Cost, most: int, threads: int = 0) -> WorkGrid:
    """Blocks that move about ``TARGET`` bytes, ``most`` at most where cells allow it.

    ``cost`` gives what a box moves. ``threads``: how many share the tasks of a plan whose values
    flow through, 0 for any other plan.
    """
    origin = node.domain.inclusive_min
    if node.size == 0:
        return WorkGrid([_Cut(n, 1) for n in node.shape], origin)
    whole = WorkGrid([_Cut(n, n) for n in node.shape], origin)
    total = _total(node, cost)
    target = min(most, task_bytes(total))
    if threads:
        fair = min(total // (_TASKS_A_THREAD * threads), most // (2 * threads))
        target = max(target, min(_FLOWING * TARGET, fair))
    if total <= target:
        return whole
    grid = node.grid
    if all(n == 1 or _is_one_cell(cells) for n, cells in zip(node.shape, grid, strict=True)):
        return whole
    sizes = [n if _cuttable(c) else _period(c) for n, c in zip(node.shape, grid, strict=True)]
    _trim(sizes, node, target)

    def make() -> WorkGrid:
        cuts = [_cut(n, c, s) for n, c, s in zip(node.shape, grid, sizes, strict=True)]
        return WorkGrid(cuts, origin)

    if cost(make().largest()) > target:
        sizes = [n if _cuttable(c) else 1 for n, c in zip(node.shape, grid, strict=True)]
        _trim(sizes, node, target)
    _shrink(sizes, grid, lambda: cost(make().largest()), target, most)
    _grow(sizes, grid, lambda: cost(make().largest()), target)
    return make()


def _total(node: Node, cost: Cost) -> int:
    """Bytes that computing all of ``node`` moves; of a large one extrapolated from its middle.

    Working out a whole mosaic of ten thousand tiles only to learn that it is large would take
    longer than computing a good part of it.
    """
    most = max(1, TARGET // node.dtype.itemsize)
    box = tuple(zip(node.domain.inclusive_min, node.domain.exclusive_max, strict=True))
    if node.size <= most:
        return cost(box)
    middle = middle_of(box, most)
    return cost(middle) * node.size // math.prod(hi - lo for lo, hi in middle)


def middle_of(box: Box, most: int) -> Box:
    """The middle of a box, with about ``most`` elements; cut along the outermost dims.

    >>> middle_of(((0, 10), (5, 9)), 8), middle_of(((0, 10), (5, 9)), 40)
    (((4, 6), (5, 9)), ((0, 10), (5, 9)))
    """
    extents = [hi - lo for lo, hi in box]
    for d, n in enumerate(extents):
        size = math.prod(extents)
        extents[d] = max(1, -(-n * most // max(most, size)))
    return tuple(
        [
            (lo + (hi - lo - n) // 2, lo + (hi - lo - n) // 2 + n)
            for (lo, hi), n in zip(box, extents, strict=True)
        ]
    )


def _trim(sizes: list[int], node: Node, target: int) -> None:
    """Cut free dims, outermost first, until a block of the result alone is small enough."""
    extents = [
        size if cells is None or cells.free else size * cells.nominal
        for size, cells in zip(sizes, node.grid, strict=True)
    ]
    for d, cells in enumerate(node.grid):
        nbytes = math.prod(extents) * node.dtype.itemsize
        if nbytes <= target:
            return
        if _cuttable(cells):
            sizes[d] = extents[d] = max(1, extents[d] * target // nbytes)


def _is_one_cell(cells: DimGrid | None) -> bool:
    return cells is not None and not cells.free and cells.count == 1


def _cuttable(cells: DimGrid | None) -> bool:
    return cells is None or cells.free


def _shrink(
    sizes: list[int],
    grid: tuple[DimGrid | None, ...],
    cost: Callable[[], int],
    target: int,
    most: int,
) -> None:
    """Halve free dims, outermost first, until a block is small enough.

    A dim that does not make blocks cheaper is left alone unless they exceed ``most``: each block
    of a gather in random order needs nearly all of the input, however few elements it has, and a
    finer cut would only read that over and over.
    """
    free = [d for d, cells in enumerate(grid) if _cuttable(cells)]
    if not free:
        return
    moved = cost()
    for d in free:
        while sizes[d] > 1 and moved > target:
            before = sizes[d]
            sizes[d] = max(1, min(-(-before // 2), -(-before * target // moved)))
            now = cost()
            if moved <= most and now > _WORTHWHILE * moved:
                sizes[d] = before
                break
            moved = now


def _grow(
    sizes: list[int],
    grid: tuple[DimGrid | None, ...],
    cost: Callable[[], int],
    target: int,
) -> None:
    """Group cells, innermost dim first, while a block stays below the target.

    First those that are stored together: a block that takes a part of each of many shards opens
    each of them and jumps about in it, and so do its neighbours.
    """
    for d in reversed(range(len(sizes))):
        for size in _parts(grid[d], sizes[d]):
            before = sizes[d]
            sizes[d] = size
            if cost() > target:
                sizes[d] = before
                return
    for d in reversed(range(len(sizes))):
        cells = grid[d]
        if cells is None or cells.free:
            continue
        limit = cells.count if cells.edges is None else len(cells.edges)
        while sizes[d] < limit:
            before = sizes[d]
            sizes[d] = min(limit, before * 2)
            if cost() > target:
                sizes[d] = before
                return


def _parts(cells: DimGrid | None, size: int) -> list[int]:
    """Ascending multiples of ``size`` cells that divide a stored object."""
    if cells is None or cells.free or cells.together % size:
        return []
    whole = cells.together
    return [n for n in range(2 * size, whole + 1, size) if whole % n == 0]


def _lead(cells: DimGrid, first: int, size: int, group: int) -> int:
    """Where blocks of ``group`` cells begin, such that no stored object is cut needlessly.

    ``first``: where the first whole cell begins; ``size``: extent of a cell.
    """
    whole = cells.together
    if whole == 1 or first >= cells.extent or (whole % group and group % whole):
        return first if first % size else 0
    unit = min(group, whole)
    cell = cells.stored_cell(first)
    ahead = -cell % unit if cells.step > 0 else (cell + 1) % unit
    return first + ahead * size


def _cut(extent: int, cells: DimGrid | None, group: int) -> _Cut:
    """Blocks of ``group`` cells (of ``group`` elements where there are none to respect)."""
    if cells is None or cells.free:
        return _Cut(extent, group)
    step = abs(cells.step)
    if cells.edges is None and (step >= cells.chunk or cells.chunk % step == 0):
        size = max(1, cells.chunk // step)
        first = cells._next_edge(0)
        return _Cut(extent, size * group, _lead(cells, first, size, group))
    if cells.count > _MANY_EDGES:
        return _Cut(extent, cells.nominal * group)
    edges = cells.edges_between(0, extent)
    first = _first_straight(cells, edges)
    return _Cut(extent, 1, edges=sorted({0, *edges[first:-1:group], extent}))


def _period(cells: DimGrid | None) -> int:
    """How many cells it takes until a step of the view ends where a cell does.

    A window of three elements straddles the border of cells of 64, but never that of 192.
    """
    if cells is None or cells.free or cells.edges is not None or abs(cells.step) >= cells.chunk:
        return 1
    return abs(cells.step) // math.gcd(cells.chunk, cells.step)


def _first_straight(cells: DimGrid, edges: list[int]) -> int:
    """Number of the first edge at which a step begins where a cell does; 0 if there is none."""
    period = _period(cells)
    behind = 0 if cells.step > 0 else 1
    for i, edge in enumerate(edges[:period]):
        if (cells.start + cells.step * edge + behind) % cells.chunk == 0:
            return i
    return 0
