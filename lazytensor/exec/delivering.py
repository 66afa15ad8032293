"""Blocks of a plan that go to the targets of sinks instead of into an array.

The blocks are made of whole units of writing, so that each unit is computed by one task and written
once, and, as far as memory allows, of whole cells of what is read, so that each of those is decoded
once. Several targets of one plan share its blocks. Those that no target needs, because they are
there already or need not be there, are no tasks at all or short ones.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.ahead import Blocks
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.known import Known
from lazytensor.exec.lower import Compiled, lower, volume
from lazytensor.exec.memory import Budget
from lazytensor.exec.outputs import output
from lazytensor.exec.steps import peek_program
from lazytensor.exec.streamed import Streamed
from lazytensor.exec.workgrid import WorkGrid, even_grid, task_bytes
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Rechunk, Reduce
from lazytensor.plan.sink import Target
from lazytensor.plan.source import Box, window

__all__ = [
    "Delivered", "Deliveries", "Delivery", "blocks_left", "deliver_all", "delivered_block",
    "plan_blocks",
]  # fmt: skip

_CELLS_A_CUT = 4
"""Where cells cannot but be cut, blocks are so many of them long, if that fits."""


class Delivery:
    """The targets of one plan.

    ``cells``: what is a whole number of units for each of them, per dim (None: anything is).
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        units = zip(*[target.cells for target in targets], strict=True)
        self.cells = tuple([_common(along) for along in units])
        order = ("any", "rather", "only")
        self.runs = max([target.runs for target in targets], key=order.index)
        # What thrifty ones say; others say no.
        self._passing = _asking(targets, "passes_over")
        self._glances = _asking(targets, "seems_written")
        self._looks = _asking(targets, "has")

    @property
    def waits(self) -> bool:
        """Whether writing mostly waits for a network."""
        return any(getattr(target, "waits", False) for target in self.targets)

    @property
    def complete(self) -> bool:
        """Whether all that is to be written is there already."""
        return all(getattr(target, "complete", False) for target in self.targets)

    def passes_over(self, value: np.ndarray) -> bool:
        """Whether boxes that are all ``value`` need not be written."""
        return bool(self._passing) and all(asked(value) for asked in self._passing)

    def seems_written(self, box: Box) -> bool:
        """Whether a block, in positions, is there already, as far as a glance tells."""
        return bool(self._glances) and all(asked(box) for asked in self._glances)

    def has(self, box: Box) -> bool:
        """Whether a block, in positions, is there already and need not be computed."""
        return bool(self._looks) and all(asked(box) for asked in self._looks)

    def held(self, nbytes: int) -> int:
        """Bytes that a task holds beside a block of ``nbytes`` while that is written."""
        return max([target.held(nbytes) for target in self.targets])

    def beside(self, node: Node) -> Callable[[Box], int]:
        """What is held beside a block of a plan, by its box."""
        return lambda box: self.held(volume(box) * node.dtype.itemsize)

    def take(self, box: Box, values: np.ndarray) -> None:
        """Write a block; ``box`` in positions. Targets that have all are left alone."""
        for target in self.targets:
            if getattr(target, "complete", False):
                continue
            for unit in _units(box, target.cells):
                part = [slice(a - lo, b - lo) for (a, b), (lo, _) in zip(unit, box, strict=True)]
                target.write(unit, window(values, part))


def _asking(targets: Sequence[Any], name: str) -> list[Callable[[Any], bool]]:
    """What to ask each target; nothing if one of them cannot be asked."""
    found = [getattr(target, name, None) for target in targets]
    return [] if None in found else [asked for asked in found if asked is not None]


def _common(units: Sequence[int | None]) -> int | None:
    sizes = [n for n in units if n is not None]
    return math.lcm(*sizes) if sizes else None


def _units(box: Box, cells: Sequence[int | None]) -> Iterator[Box]:
    """The units that a box of whole ones consists of."""
    along = []
    for (lo, hi), n in zip(box, cells, strict=True):
        edges = [lo, hi] if n is None else [*range(lo, hi, n), hi]
        along.append(list(pairwise(edges)))
    return product(*along)


def deliver_all(target: Target, values: np.ndarray) -> None:
    """Write what is in memory as a whole."""
    Delivery((target,)).take(tuple([(0, n) for n in values.shape]), values)


def _made(node: Node, root: int | None) -> np.ndarray:
    return output(node.shape, node.dtype)


class Deliveries:
    """Where a run puts what it computes, some of it into targets (``LocalEngine.run``).

    ``made``: makes the arrays that are not given.
    """

    def __init__(
        self,
        roots: Sequence[Node],
        outs: Sequence[np.ndarray | Target],
        made: Callable[[Node, int | None], np.ndarray] = _made,
    ) -> None:
        self._made = made
        targets: dict[Node, list[Target]] = {}
        for root, out in zip(roots, outs, strict=True):
            if not isinstance(out, np.ndarray):
                targets.setdefault(root, []).append(out)
        deliveries = {root: Delivery(some) for root, some in targets.items()}
        self._places = [
            out if isinstance(out, np.ndarray) else deliveries[root]
            for root, out in zip(roots, outs, strict=True)
        ]
        self._done: set[Delivery] = set()

    def place(self, node: Node, root: int | None) -> np.ndarray | Delivery:
        """Where a stage puts a node: reductions, which are small, are delivered in the end."""
        if root is None:
            return self._made(node, root)
        place = self._places[root]
        if isinstance(place, np.ndarray):
            return place
        if isinstance(node, (Reduce, Streamed)):
            return self._made(node, root)
        self._done.add(place)
        return place

    def settle(self, roots: Sequence[Node], stored: Mapping[Node, np.ndarray]) -> None:
        """Fill what is not filled yet, when all has run."""
        for root, place in zip(roots, self._places, strict=True):
            if isinstance(place, np.ndarray):
                if stored[root] is not place:
                    np.copyto(place, stored[root], casting="no")
            elif place not in self._done:
                self._done.add(place)
                place.take(tuple([(0, n) for n in root.shape]), stored[root])


class Delivered(NamedTuple):
    """A plan cut into blocks for a delivery. A task holds ``nbytes`` at most."""

    compiled: Compiled
    grid: WorkGrid
    nbytes: int


def plan_blocks(
    node: Node,
    delivery: Delivery,
    stored: Mapping[Node, np.ndarray],
    budget: Budget,
    threads: int,
    *,
    fusing: bool,
) -> Delivered:
    """Cut a plan into blocks of whole units; what one needs may still not fit."""
    compiled = Compiled(node, stored, fusing=fusing)
    if not node.size:
        return Delivered(compiled, even_grid(node, node.shape), 0)
    blocks = _Blocks(node, compiled, delivery, budget.free, threads)
    sizes = blocks.cells() if delivery.runs == "any" else blocks.runs()
    grid = even_grid(node, sizes)
    return Delivered(compiled, grid, blocks.nbytes(sizes))


class _Blocks:
    """Chooses the extents of blocks."""

    def __init__(
        self, node: Node, compiled: Compiled, delivery: Delivery, room: int, threads: int
    ) -> None:
        self._node = node
        self._compiled = compiled
        self._delivery = delivery
        self._room = room
        self._each = room // max(1, threads)
        self._shape = node.shape
        self._target = task_bytes(node.nbytes)
        self._costs: dict[tuple[int, ...], tuple[int, int]] = {}
        # The cells of the root are those that are written.
        read = node.x if isinstance(node, Rechunk) else node
        self._read = [
            _read_extent(cells, n) for cells, n in zip(read.grid, node.shape, strict=True)
        ]

    def nbytes(self, sizes: Sequence[int]) -> int:
        """Bytes that a task of such a block holds."""
        return self._cost(sizes)[0]

    def _cost(self, sizes: Sequence[int]) -> tuple[int, int]:
        """Bytes that such a task holds and moves."""
        known = self._costs.get(tuple(sizes))
        if known is None:
            program = lower(self._compiled, even_grid(self._node, sizes).largest())
            held = self._delivery.held(math.prod(sizes) * self._node.dtype.itemsize)
            self._costs[tuple(sizes)] = known = program.nbytes + held, program.moved
        return known

    def cells(self) -> list[int]:
        """Whole units, and whole cells of what is read where that fits."""
        units = [
            min(n, max(1, read if unit is None else unit))
            for n, read, unit in zip(self._shape, self._read, self._delivery.cells, strict=True)
        ]
        sizes = list(units)
        for d in reversed(range(len(sizes))):
            both = math.lcm(units[d], self._read[d])
            self._try(sizes, d, min(self._shape[d], both), self._room // 2)
        for d in reversed(range(len(sizes))):
            # Cells are cut, but few of them.
            most = min(self._shape[d], _CELLS_A_CUT * self._read[d])
            while sizes[d] % self._read[d] and sizes[d] < most:
                if not self._try(sizes, d, min(self._shape[d], 2 * sizes[d]), self._each):
                    break
        return self._grown(sizes)

    def _try(self, sizes: list[int], d: int, size: int, most: int) -> bool:
        """Make blocks longer along a dim if a task of one then holds no more than ``most``."""
        before, sizes[d] = sizes[d], size
        if size == before or self.nbytes(sizes) <= most:
            return True
        sizes[d] = before
        return False

    def _grown(self, sizes: list[int]) -> list[int]:
        """Twice as long, and again, along the last dims first, up to what a task should move, and
        so that every thread may have one."""
        for d in reversed(range(len(sizes))):
            while sizes[d] < self._shape[d]:
                before, sizes[d] = sizes[d], min(self._shape[d], 2 * sizes[d])
                held, moved = self._cost(sizes)
                if moved > self._target or held > self._each:
                    sizes[d] = before
                    return sizes
        return sizes

    def runs(self) -> list[int]:
        """Runs in C order, of whole cells of what is read where that fits."""
        sizes = self._whole_cells()
        if self.nbytes(sizes) > self._room // 2:
            if self._delivery.runs == "rather":
                return self._boxes()
            sizes = [1] * len(self._shape)
        return self._grown(sizes)

    def _whole_cells(self) -> list[int]:
        """The shortest run that cuts no cell: of the outermost dim along which cells are long."""
        long = [d for d, n in enumerate(self._read) if n > 1 and self._shape[d] > 1]
        if not long:
            return [1] * len(self._shape)
        first = long[0]
        return [
            1 if d < first else (min(n, self._read[d]) if d == first else n)
            for d, n in enumerate(self._shape)
        ]

    def _boxes(self) -> list[int]:
        """Cells of what is read, as long as may be along the last dims."""
        pairs = zip(self._shape, self._read, strict=True)
        return self._grown([min(n, read) for n, read in pairs])


def _read_extent(cells: DimGrid | None, extent: int) -> int:
    """Extent of a cell of what is read; 1 where it may be cut anywhere."""
    if cells is None or cells.free:
        return 1
    return min(max(1, extent), cells.nominal)


def blocks_left(grid: WorkGrid, known: Known | None, delivery: Delivery) -> Sequence[int]:
    """Numbers of the blocks that are to be computed, ascending.

    Where the plan is known to be constant, and no target wants that constant written, there are
    none: of 10^8 chunks of zeros a single question is asked.
    """
    if delivery.complete:
        return ()
    everything = range(grid.count)
    if known is None or not grid.count:
        return everything
    found = array("q")
    stack = [(tuple([0] * len(grid.counts)), grid.counts)]
    while stack:
        lo, hi = stack.pop()
        last = grid.box_at(tuple([i - 1 for i in hi]))
        box = tuple([(a, b) for (a, _), (_, b) in zip(grid.box_at(lo), last, strict=True)])
        value = known.constant_in(box)
        if value is not None and delivery.passes_over(value):
            continue
        split = next((d for d, (a, b) in enumerate(zip(lo, hi, strict=True)) if b - a > 1), None)
        if value is None and split is not None:
            middle = (lo[split] + hi[split]) // 2
            stack.append(((*lo[:split], middle, *lo[split + 1 :]), hi))
            stack.append((lo, (*hi[:split], middle, *hi[split + 1 :])))
            continue
        # One block, or a constant that is to be written all over.
        for index in product(*[range(a, b) for a, b in zip(lo, hi, strict=True)]):
            number = 0
            for i, n in zip(index, grid.counts, strict=True):
                number = number * n + i
            found.append(number)
    return everything if len(found) == grid.count else found


def delivered_block(
    delivery: Delivery,
    numbers: Sequence[int],
    grid: WorkGrid,
    blocks: Blocks,
    budget: Budget,
    known: Known | None,
) -> Callable[[int, Scratch], None]:
    """What a task does with its number among ``numbers``, the blocks to compute."""
    origin = grid.origin

    def work(number: int, scratch: Scratch) -> None:
        box = grid.box(numbers[number])
        place = tuple([(lo - o, hi - o) for (lo, hi), o in zip(box, origin, strict=True)])
        if delivery.seems_written(place):
            with budget.holding(delivery.held(0), delivery.targets[0].label):
                if delivery.has(place):
                    return
        value = None if known is None else known.constant_in(box)
        if value is not None:
            delivery.take(place, np.broadcast_to(value, [hi - lo for lo, hi in place]))
            return
        with blocks.lent(box) as program:
            peek_program(program, scratch, lambda values: delivery.take(place, values))

    return work
