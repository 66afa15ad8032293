"""What a collect will read and hold, without reading it.

The needs of the whole result, worked out as if it were one block, are the set of read units:
views of sources are resolved to the cells they touch, per dimension, so counting 10^8 chunks is a
product of a few numbers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from lazytensor.config import QueryOptFlags
from lazytensor.exec.cells import Cells, CellUnion
from lazytensor.exec.demand import whole_box
from lazytensor.exec.local import LocalEngine, prepare
from lazytensor.exec.lower import READS, lower
from lazytensor.exec.memory import Budget, memory_limit, thread_count
from lazytensor.exec.physical import Step
from lazytensor.exec.reduce import ReduceTasks
from lazytensor.exec.sparse import touched_cells
from lazytensor.exec.stages import plan_stages
from lazytensor.plan.cost import Estimate
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan
from lazytensor.plan.optimize import optimize
from lazytensor.plan.source import Source

__all__ = ["estimate"]

_SAMPLE = 64

_Needs = dict[Hashable, tuple[Source, list[Cells]]]


def estimate(
    node: Node,
    *,
    engine: Any = "auto",
    optimizations: QueryOptFlags | None = None,
    exact: bool = False,
) -> Estimate:
    """Tasks, chunks, bytes and memory of collecting ``node``.

    Chunks and decoded bytes are exact, or an upper bound where a gather stays above an operation;
    stored bytes are extrapolated from about 64 units of each
    source unless ``exact``; memory is an upper bound.
    """
    flags = QueryOptFlags() if optimizations is None else optimizations
    tasks, memory, needs = _walk_stages(optimize(node, flags), engine)
    chunks = read = decoded = 0
    for source, parts in needs.values():
        cells = CellUnion(source, parts)
        chunks += cells.count
        decoded += cells.elements * source.spec.dtype.itemsize
        read += _stored_bytes(source, cells, exact)
    return Estimate(
        tasks=tasks,
        chunks_read=chunks,
        chunks_total=_total_cells(node),
        bytes_read=read,
        bytes_decoded=decoded,
        peak_memory=memory,
    )


def _walk_stages(plan: Node, engine: Any) -> tuple[int, int, _Needs]:
    """Number of tasks, peak memory, and per source the products of cells that are needed."""
    stored: dict[Node, np.ndarray] = {}
    needs: _Needs = {}
    tasks = held = peak = 0
    local = engine if isinstance(engine, LocalEngine) else LocalEngine()
    limit = memory_limit(local.max_memory)
    for stage in plan_stages([plan]):
        reductions = stage.reductions
        node = reductions[0].x if reductions else stage.nodes[0]
        compiled, grid, task_bytes = prepare(node, stored, limit // 4 if reductions else limit)
        count = grid.count
        if reductions:
            passes = ReduceTasks(reductions, compiled, grid, [], Budget(limit))
            count = passes.count
            task_bytes += passes.nbytes
        tasks += count
        held += sum(x.nbytes for x in stage.nodes)
        threads = thread_count(local.threads, remote=compiled.remote)
        peak = max(peak, held + min(threads, count) * task_bytes)
        if node.size:
            for step in lower(compiled, whole_box(node)).steps:
                _add_needs(step, needs)
        for x in stage.nodes:
            stored[x] = np.broadcast_to(np.zeros((), x.dtype), x.shape)
    return tasks, peak, needs


def _add_needs(step: Step, needs: _Needs) -> None:
    if step.op not in READS:
        return
    source: Source = step.args[0]
    if source.array is not None:
        return
    parts = needs.setdefault(source.key, (source, []))[1]
    if step.op == "gather":
        for cells in touched_cells(source, step.args[1]):
            parts.append([cells[d] for d in range(source.spec.ndim)])
        return
    spec, box = source.spec, step.args[1]
    steps = step.args[4] if step.op == "read_strided" else (1,) * spec.ndim
    parts.append(
        [
            range(1) if cells is None else _touched(cells, a - o, b - o, by)
            for (a, b), o, by, cells in zip(
                box, spec.domain.inclusive_min, steps, spec.grid, strict=True
            )
        ]
    )


def _touched(cells: DimGrid, lo: int, hi: int, step: int) -> range | np.ndarray:
    """The cells that hold any of the positions ``lo, lo + step, ...`` below ``hi``."""
    count = -(-(hi - lo) // step)
    return cells.affine(lo, step, count).stored_cells(0, count)


def _stored_bytes(source: Source, cells: CellUnion, exact: bool) -> int:
    wanted = cells.sample(None if exact or cells.count <= _SAMPLE else _SAMPLE)
    if not wanted:
        return 0
    found = source.unit_sizes(wanted)
    if found.sampled == cells.count:
        return found.stored_bytes
    return round(found.stored_bytes / max(1, found.sampled) * cells.count)


def _total_cells(root: Node) -> int:
    """Cells of every source of the plan as it was written."""
    return sum(
        math.prod(1 if cells is None else cells.count for cells in node.grid)
        for node in walk(root)
        if isinstance(node, Scan) and node.source.array is None
    )
