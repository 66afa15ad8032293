"""What a collect will read and hold, without reading it.

The needs of the whole result, worked out as if it were one block, are the exact set of read units:
views of sources are resolved to the cells they touch, per dimension, so counting 10^8 chunks is a
product of a few numbers. Only where several different parts of one source are needed are cells
enumerated, to count the ones they share once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from lazytensor.config import QueryOptFlags
from lazytensor.exec.demand import whole_box
from lazytensor.exec.local import LocalEngine, prepare
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.memory import thread_count
from lazytensor.exec.reduce import ReduceTasks
from lazytensor.exec.sparse import touched_cells
from lazytensor.exec.stages import plan_stages
from lazytensor.plan.cost import Estimate
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan
from lazytensor.plan.optimize import optimize
from lazytensor.plan.source import Source

__all__ = ["estimate"]

_SAMPLE = 64

Cells = dict[int, Any]
"""Stored cells per dim, as ranges or ascending arrays: their product."""


def estimate(
    node: Node,
    *,
    engine: Any = "auto",
    optimizations: QueryOptFlags | None = None,
    exact: bool = False,
) -> Estimate:
    """Tasks, chunks, bytes and memory of collecting ``node``.

    Chunks and decoded bytes are exact; stored bytes are extrapolated from at most 64 units unless
    ``exact``; memory is an upper bound.
    """
    flags = QueryOptFlags() if optimizations is None else optimizations
    plan = optimize(node, flags)
    tasks, memory, needed = _walk_stages(plan, engine)
    chunks = read = decoded = 0
    for source, parts in needed.values():
        cells = _distinct(parts)
        chunks += cells.count
        decoded += cells.decoded(source)
        read += _stored_bytes(source, cells, exact)
    return Estimate(
        tasks=tasks,
        chunks_read=chunks,
        chunks_total=_total_cells(node),
        bytes_read=read,
        bytes_decoded=decoded,
        peak_memory=memory,
    )


def _walk_stages(
    plan: Node, engine: Any
) -> tuple[int, int, dict[object, tuple[Source, list[Cells]]]]:
    """Number of tasks, peak memory, and per source the products of cells that are needed."""
    stored: dict[Node, np.ndarray] = {}
    needed: dict[object, tuple[Source, list[Cells]]] = {}
    tasks = held = peak = 0
    threads = thread_count(engine.threads if isinstance(engine, LocalEngine) else None)
    for stage in plan_stages([plan]):
        reductions = stage.reductions
        node = reductions[0].x if reductions else stage.nodes[0]
        compiled, grid, task_bytes = prepare(node, stored)
        count = ReduceTasks(reductions, compiled, grid, []).count if reductions else grid.count
        tasks += count
        held += sum(x.nbytes for x in stage.nodes)
        peak = max(peak, held + min(threads, count) * task_bytes)
        if node.size:
            _collect_needs(compiled, needed)
        for x in stage.nodes:
            stored[x] = np.broadcast_to(np.zeros((), x.dtype), x.shape)
    return tasks, peak, needed


def _collect_needs(compiled: Compiled, needed: dict[object, tuple[Source, list[Cells]]]) -> None:
    program = lower(compiled, whole_box(compiled.root))
    for step in program.steps:
        if step.op not in ("read", "gather"):
            continue
        source: Source = step.args[0]
        if source.array is not None:
            continue
        parts = needed.setdefault(source.key, (source, []))[1]
        if step.op == "gather":
            parts.extend(touched_cells(source, step.args[1]))
            continue
        lo = source.spec.domain.inclusive_min
        parts.append(
            {
                d: range(1) if cells is None else cells.stored_cells(a - lo[d], b - lo[d])
                for d, ((a, b), cells) in enumerate(
                    zip(step.args[1], source.spec.grid, strict=True)
                )
            }
        )


class _Distinct:
    """The union of products of cells."""

    def __init__(self, product: Cells | None, listed: np.ndarray | None) -> None:
        self._product = product
        self._listed = listed

    @property
    def count(self) -> int:
        if self._product is not None:
            return math.prod(len(cells) for cells in self._product.values())
        assert self._listed is not None
        return len(self._listed)

    def decoded(self, source: Source) -> int:
        """Bytes of the cells once decoded, edge cells as far as the array reaches."""
        shape, itemsize = source.spec.shape, source.spec.dtype.itemsize
        if self._product is not None:
            sizes = [
                sum(_extent(source, d, int(c), shape[d]) for c in cells)
                if not isinstance(cells, range)
                else _span(source, d, cells, shape[d])
                for d, cells in self._product.items()
            ]
            return math.prod(sizes) * itemsize
        assert self._listed is not None
        total = 0
        for cell in self._listed:
            total += math.prod(_extent(source, d, int(c), shape[d]) for d, c in enumerate(cell))
        return total * itemsize

    def sample(self, limit: int | None) -> list[tuple[int, ...]]:
        """At most ``limit`` of the cells, spread evenly."""
        n = self.count
        picks: Iterable[int] = range(n)
        if limit is not None and n > limit:
            picks = (i * n // limit for i in range(limit))
        if self._listed is not None:
            return [tuple(int(c) for c in self._listed[i]) for i in picks]
        assert self._product is not None
        dims = sorted(self._product)
        out = []
        for i in picks:
            cell = []
            for d in reversed(dims):
                cells = self._product[d]
                i, k = divmod(i, len(cells))
                cell.append(int(cells[k]))
            out.append(tuple(reversed(cell)))
        return out


def _extent(source: Source, d: int, cell: int, size: int) -> int:
    grid = source.spec.grid[d]
    if grid is None:
        return size
    lo, hi = grid.stored_extent(cell, size)
    return hi - lo


def _span(source: Source, d: int, cells: range, size: int) -> int:
    grid = source.spec.grid[d]
    if grid is None or not cells:
        return size if cells else 0
    return grid.stored_extent(cells[-1], size)[1] - grid.stored_extent(cells[0], size)[0]


def _distinct(parts: list[Cells]) -> _Distinct:
    if len(parts) == 1:
        return _Distinct(parts[0], None)
    listed: set[tuple[int, ...]] = set()
    for part in parts:
        axes = [np.asarray(part[d]) for d in sorted(part)]
        grids = np.meshgrid(*axes, indexing="ij") if axes else []
        flat = np.stack([g.reshape(-1) for g in grids], axis=1) if grids else np.zeros((1, 0), int)
        listed.update(map(tuple, flat.tolist()))
    rank = len(parts[0]) if parts else 0
    return _Distinct(None, np.array(sorted(listed), np.int64).reshape(-1, rank))


def _stored_bytes(source: Source, cells: _Distinct, exact: bool) -> int:
    wanted = cells.sample(None if exact else _SAMPLE)
    if not wanted:
        return 0
    sizes = source.unit_sizes(wanted)
    if sizes.sampled == cells.count:
        return sizes.stored_bytes
    return round(sizes.stored_bytes / max(1, sizes.sampled) * cells.count)


def _total_cells(root: Node) -> int:
    """Cells of every source of the plan as it was written."""
    total = 0
    for node in walk(root):
        if isinstance(node, Scan) and node.source.array is None:
            total += math.prod(1 if cells is None else cells.count for cells in node.grid)
    return total
