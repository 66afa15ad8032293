"""What a collect will read and hold, without reading it.

The engine says how it would run the plan, in which passes and tasks; nothing of that is repeated
here. What the tasks read is found without going through them: the needs of the whole result, worked
out as if it were one block, are the set of read units. Views of sources are resolved to the cells
they touch, per dimension, so counting 10^8 chunks is a product of a few numbers. Only where a task
needs less than its share of that (a gather that stays above an operation), or where it matters how
often a byte is fetched, are tasks gone through one by one.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lazytensor.config import QueryOptFlags
from lazytensor.exec.cells import Cells, CellUnion
from lazytensor.exec.delivering import Deliveries, Delivery
from lazytensor.exec.demand import whole_box
from lazytensor.exec.demand_reshape import below_reshapes
from lazytensor.exec.engine import is_tiny, resolve_engine
from lazytensor.exec.footprint import source_memory, task_memory
from lazytensor.exec.interpret import InterpretEngine
from lazytensor.exec.joined import reads_of_windows
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.local import LocalEngine
from lazytensor.exec.lower import READS, reads_of
from lazytensor.exec.pasted import is_pasted
from lazytensor.exec.physical import Step
from lazytensor.exec.schedule import pass_memory
from lazytensor.exec.sparse import is_one_reading, sparse_boxes, touched_cells
from lazytensor.plan.cost import Estimate
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Scan, View
from lazytensor.plan.optimize import optimize
from lazytensor.plan.output_map import SINGLE
from lazytensor.plan.sink import Target
from lazytensor.plan.source import Box, Read, Source

__all__ = ["estimate", "no_array"]

_SAMPLE = 64
_FEW_TASKS = 256
"""So many tasks are gone through where the needs of the whole are more than theirs together."""

_LOOKED_AT = 16
"""So few tasks, that need no more than ``_SAMPLE`` units, are looked at as if it were exact."""

_ALL = QueryOptFlags()
_Needs = dict[Hashable, tuple[Source, list[Cells]]]


class _Plan(NamedTuple):
    """How a plan will be run: ``steps`` of the whole, and by ``blocks`` those of every task."""

    tasks: int
    memory: int
    steps: list[Step]
    blocks: Callable[[], Iterable[Step]]


def estimate(
    node: Node,
    *,
    engine: Any = "auto",
    optimizations: QueryOptFlags | None = None,
    exact: bool = False,
    target: Target | np.ndarray | None = None,
) -> Estimate:
    """Tasks, chunks, bytes and memory of collecting ``node``; see ``Estimate`` for their meaning.

    ``target``: where its values go instead of into an array that is made for them. ``exact``: go
    through the tasks, one by one, and ask for the size of every stored object that they read
    (shards: for their indices) instead of a sample.
    """
    chosen = resolve_engine(engine)
    total = _total_cells(node)
    if target is not None and not isinstance(target, np.ndarray):
        from lazytensor.exec.sinking import root_of

        node = root_of(node, target)
    else:
        target = None
    if isinstance(chosen, LocalEngine) and target is None and is_tiny(node):
        return Estimate(1, 0, total, 0, 0, sum(x.nbytes for x in walk(node)))
    flags = _ALL if optimizations is None else optimizations
    # As the engine runs it: what is pasted is not optimised.
    local = chosen if isinstance(chosen, LocalEngine) else LocalEngine()
    pasted = chosen is local and target is None and is_pasted(node)
    root = node if pasted else optimize(node, flags)
    if isinstance(chosen, InterpretEngine):
        plan = _interpreted(root)
    else:
        plan = _scheduled(root if target else below_reshapes(root), local, flags, target)
    needs = _needs(plan.steps)
    if (
        (exact or plan.tasks <= _FEW_TASKS)
        and plan.tasks > 1
        and not pasted
        and _asks_too_much(root)
    ):
        needs = _needs(plan.blocks())
    unions = [(source, CellUnion(source, parts)) for source, parts in needs.values()]
    chunks = sum(cells.count for _, cells in unions)
    # Windows that are read together ask for each chunk once.
    one_by_one = not any(step.op == "read_windows" for step in plan.steps)
    sizes = _Sizes(
        exact,
        plan
        if one_by_one and (exact or (chunks <= _SAMPLE and plan.tasks <= _LOOKED_AT))
        else None,
    )
    with kernels_of_run(local.kernels):  # they decide what is read at once
        found = [sizes.of(source, cells) for source, cells in unions]
    return Estimate(
        tasks=plan.tasks,
        chunks_read=chunks,
        chunks_total=total,
        bytes_read=sum(stored for stored, _ in found),
        bytes_decoded=sum(decoded for _, decoded in found),
        peak_memory=plan.memory,
    )


def _scheduled(
    root: Node, engine: LocalEngine, flags: QueryOptFlags, target: Target | None
) -> _Plan:
    """As the local engine runs it."""
    program = None if target else engine.one_task([root])
    if program is not None:
        steps = list(program.steps)
        helpers = engine.readers(program) - 1
        memory = root.nbytes + task_memory(program) + helpers * source_memory(program)
        return _Plan(1, memory, steps, lambda: steps)
    result = root.nbytes
    array: Callable[[Node, int | None], np.ndarray | Delivery] = no_array
    if target is not None:
        result, array = 0, Deliveries([root], [target], no_array).place
    schedule = engine.schedule([root], array, flags)
    passes = [one for one in schedule.passes if one.tasks]
    steps = [
        step
        for one in passes
        for box in (one.boxes() if one.skips else [whole_box(one.node)])
        for step in reads_of(one.prepared.compiled, box)
    ]
    memory = result + schedule.kept + max([pass_memory(one) for one in passes], default=0)

    def blocks() -> Iterator[Step]:
        for one in passes:
            for box in one.boxes():
                yield from reads_of(one.prepared.compiled, box)

    return _Plan(sum(one.tasks for one in passes), memory, steps, blocks)


def _interpreted(root: Node) -> _Plan:
    """As the interpreter does: every source whole, and every result until the end."""
    nodes = list(walk(root))
    steps = [
        Step("read", 0, (), (node.source, whole_box(node)), node.shape, node.dtype, ())
        for node in nodes
        if isinstance(node, Scan) and node.source.array is None and node.size
    ]
    held = sum(node.nbytes for node in nodes if not _is_look(node))
    return _Plan(1, root.nbytes + held, steps, lambda: steps)


def _is_look(node: Node) -> bool:
    """True for a node whose values are those of its input, seen differently."""
    if isinstance(node, Scan):
        return node.source.array is not None
    return isinstance(node, View) and not node.transform.has_arrays


def no_array(node: Node, root: int | None) -> np.ndarray:
    """Stands for an array that is not there yet: its shape, and no memory."""
    return np.broadcast_to(np.zeros((), node.dtype), node.shape)


def _asks_too_much(root: Node) -> bool:
    """True if a view skips elements of something that is no source: all of the hull is needed for
    the whole result, but not for each of its blocks. What lies between two of them may be a cell,
    even where steps are short: cells at the edge are, too."""
    return any(
        isinstance(node, View) and not isinstance(node.x, (Scan, Constant)) and _skips(node)
        for node in walk(root)
    )


def _skips(view: View) -> bool:
    transform = view.transform
    return transform.has_arrays or any(
        m.kind == SINGLE and abs(m.stride) > 1 for m in transform.maps
    )


def _needs(steps: Iterable[Step]) -> _Needs:
    """Per source the products of cells that steps read."""
    needs: _Needs = {}
    for step in steps:
        _add_needs(step, needs)
    return needs


def _add_needs(step: Step, needs: _Needs) -> None:
    if step.op not in READS or 0 in step.shape:
        return
    source: Source = step.args[0]
    if source.array is not None:
        return
    parts = needs.setdefault(source.key, (source, []))[1]
    if step.op != "gather":
        parts.extend([_cells_of(source, *read) for read in _reads_of(step)])
    elif any(cells is not None and cells.free for cells in source.spec.grid):
        ones = (1,) * source.spec.ndim
        parts.extend(_cells_of(source, box, ones) for box in sparse_boxes(source, step.args[1]))
    else:
        for touched in touched_cells(source, step.args[1]):
            parts.append([touched[d] for d in range(source.spec.ndim)])


def _cells_of(source: Source, box: Box, steps: tuple[int, ...]) -> Cells:
    """What reading every so many elements of a box touches."""
    spec = source.spec
    return [
        range(1) if cells is None else _touched(cells, a - o, b - o, by)
        for (a, b), o, by, cells in zip(
            box, spec.domain.inclusive_min, steps, spec.grid, strict=True
        )
    ]


def _reads_of(step: Step) -> list[Read]:
    if step.op == "read_windows":
        return reads_of_windows(step)
    box: Box = step.args[1]
    return [(box, step.args[4] if step.op == "read_strided" else (1,) * len(box))]


def _touched(cells: DimGrid, lo: int, hi: int, step: int) -> range | np.ndarray:
    """The cells that hold any of the positions ``lo, lo + step, ...`` below ``hi``; of free cells
    all positions between, which are what is read of them."""
    if cells.free:
        return range(lo, hi)
    count = -(-(hi - lo) // step)
    return cells.affine(lo, step, count).stored_cells(0, count)


class _Sizes:
    """Stored and decoded bytes of what is read of a source: by a sample, or task by task."""

    def __init__(self, exact: bool, plan: _Plan | None) -> None:
        self._exact = exact
        self._plan = plan
        self._reads: dict[Hashable, _Asked] | None = None

    def of(self, source: Source, cells: CellUnion) -> tuple[int, int]:
        """Of one source, of which these cells are needed."""
        decoded = cells.elements * source.spec.dtype.itemsize
        if self._plan is not None and hasattr(source, "fetched"):
            if self._reads is None:
                self._reads = _reads(self._plan.blocks())
            asked = self._reads.get(source.key, _Asked([], []))
            known = (asked.readings,) if hasattr(source, "read_cells") else ()
            found = source.fetched(asked.reads, *known)
            return found.stored_bytes, found.decoded_bytes if self._exact else decoded
        wanted = cells.sample(None if self._exact or cells.count <= _SAMPLE else _SAMPLE)
        if not wanted:
            return 0, decoded
        sizes = source.unit_sizes(wanted)
        if sizes.sampled == cells.count:
            return sizes.stored_bytes, decoded
        return round(sizes.stored_bytes / max(1, sizes.sampled) * cells.count), decoded


class _Asked(NamedTuple):
    """Reads, and for each the number of the reading that it is a part of."""

    reads: list[Read]
    readings: list[int]

    def add(self, reads: list[Read], *, at_once: bool) -> None:
        first = self.readings[-1] + 1 if self.readings else 0
        self.reads.extend(reads)
        self.readings.extend([first if at_once else first + i for i in range(len(reads))])


def _reads(steps: Iterable[Step]) -> dict[Hashable, _Asked]:
    """What steps ask of each source, in order."""
    found: dict[Hashable, _Asked] = {}
    for step in steps:
        if step.op not in READS or 0 in step.shape:
            continue
        source: Source = step.args[0]
        asked = found.setdefault(source.key, _Asked([], []))
        if step.op != "gather":
            asked.add(_reads_of(step), at_once=False)
        elif source.array is None:
            ones, transform = (1,) * source.spec.ndim, step.args[1]
            reads = [(box, ones) for box in sparse_boxes(source, transform)]
            asked.add(reads, at_once=is_one_reading(source, transform, len(reads)))
    return found


_scans: weakref.WeakKeyDictionary[Node, tuple[Scan, ...]] = weakref.WeakKeyDictionary()


def _total_cells(root: Node) -> int:
    """Cells of every source of the plan as it was written."""
    return sum(
        math.prod(1 if cells is None else cells.count for cells in node.grid)
        for node in _sources(root)
    )


def _sources(root: Node) -> tuple[Scan, ...]:
    """The stored sources below a node; of what has many inputs they are remembered, so that windows
    of a mosaic need not look for them again."""
    while len(root.inputs) == 1:
        root = root.inputs[0]
    found = _scans.get(root)
    if found is None:
        found = tuple(
            node for node in walk(root) if isinstance(node, Scan) and node.source.array is None
        )
        # A source that remembered itself would never die.
        if root.inputs:
            _scans[root] = found
    return found
