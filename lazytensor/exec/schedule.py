"""How plans are run that are more than one read: in which passes, cut into which tasks.

Everything is planned before anything is read. It is a module of its own because a process that only
reads needs none of it (``exec.local``), and importing it takes longer than reading a chunk. So it
is with what reductions, contractions and sketches alone need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lazytensor.config import QueryOptFlags
from lazytensor.exec.ahead import Blocks, fetches, unit_of
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.compositing import computed_nodes
from lazytensor.exec.delivering import Delivery, blocks_left, delivered_block, plan_blocks
from lazytensor.exec.footprint import task_memory
from lazytensor.exec.known import Known, known_of
from lazytensor.exec.lower import Compiled, lower, volume
from lazytensor.exec.memory import WAITING, Budget, Spare, TaskOf, sparing, thread_count
from lazytensor.exec.outputs import trim_to
from lazytensor.exec.parts import find_parts
from lazytensor.exec.pasted import is_pasted
from lazytensor.exec.pool import Job
from lazytensor.exec.sharing import share
from lazytensor.exec.stages import SKETCHES, Stage, one_stage_each, plan_stages
from lazytensor.exec.steps import run_program
from lazytensor.exec.streamed import Streamed
from lazytensor.exec.through import goes_once, line_of, may_run
from lazytensor.exec.workgrid import TARGET, WorkGrid, choose_grid, middle_of
from lazytensor.plan.caching import CACHING
from lazytensor.plan.garbage import collector_waits, is_large
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Reduce, Reshape, Scan, View
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.source import Box, window

if TYPE_CHECKING:
    from lazytensor.exec.reduce import ReduceTasks

__all__ = [
    "Pass",
    "Prepared",
    "Schedule",
    "job_of",
    "part_of",
    "pass_memory",
    "prepare",
    "schedule",
]

_MOST_SHARED = 256 << 20
"""Bytes of sub-plans that several results share and that are kept for them, at most."""

MANY = 1 << 8
"""Nodes of a plan, each of which is looked at when blocks are chosen."""


class Prepared(NamedTuple):
    """A plan cut into blocks: ready for lowering any of them. One block needs ``nbytes``."""

    compiled: Compiled
    grid: WorkGrid
    nbytes: int


def prepare(
    node: Node,
    stored: Mapping[Node, np.ndarray],
    limit: int,
    *,
    fusing: bool = True,
    threads: int = 0,
) -> Prepared:
    """Cut a plan into blocks that need no more than ``limit`` bytes, where its cells allow it.

    ``fusing``: whether operations that feed each other are one step. ``threads``: how many share
    the tasks, if the result does not depend on how it is cut; else 0.
    """
    compiled = Compiled(node, stored, fusing=fusing)
    known = compiled.programs
    # Of a mosaic of thousands of tiles a part is looked at that meets some hundreds of them.
    most = node.size if len(compiled.rank) <= MANY else node.size * MANY // len(compiled.rank)

    def cost(box: Box) -> int:
        size = volume(box)
        part = box if size <= most else middle_of(box, most)
        program = known[part] = lower(compiled, part)
        return program.moved if part is box else program.moved * size // volume(part)

    flows = threads and node.nbytes > TARGET and _flows(compiled)
    grid = choose_grid(node, cost, limit, threads if flows else 0)
    if not grid.count:
        return Prepared(compiled, grid, 0)
    # Kept is that of a largest block, which in a small plan is the only one; it is asked for again.
    largest = grid.largest()
    sample = lower(compiled, largest)
    known.clear()
    known[largest] = sample
    return Prepared(compiled, grid, sample.nbytes)


_EXACT = frozenset({"min", "max", "finite_min", "finite_max"})


def _may_be_cut(node: Reduce | Streamed) -> bool:
    """Whether a reduction is the same however its input is cut, which is in memory as it is."""
    if type(node) is not Reduce or node.op not in _EXACT:
        return False
    below = node.x
    while type(below) is Reshape or type(below) is View:
        below = below.x
    return type(below) is Scan and below.source.array is not None


def _sums(compiled: Compiled) -> bool:
    """Whether blocks add elements up by themselves."""
    computed = [node for node in compiled.order if node not in compiled.stored]
    return any(type(x) is Contract or (type(x) is Reduce and x.op not in _EXACT) for x in computed)


def _flows(compiled: Compiled) -> bool:
    """Whether blocks are read through: each chunk goes to its place while it is in the cache; or
    arrays in memory are gone over once. Never where some are summed on the way: the bits of a sum
    may depend on the block that it is computed in."""
    node = compiled.root
    if compiled.remote or len(compiled.order) > MANY or _sums(compiled):
        return False
    box = tuple(zip(node.domain.inclusive_min, node.domain.exclusive_max, strict=True))
    middle = middle_of(box, max(1, TARGET // node.dtype.itemsize))
    program = compiled.programs[middle] = lower(compiled, middle)
    line = line_of(program)
    return goes_once(program) if line is None else may_run(line)


class Pass(NamedTuple):
    """A stage that is ready to run: so many ``tasks``, ``threads`` of them at once.

    ``nbytes``: what one task holds at most. ``reducing``: the tasks of a stage of reductions, else
    None. ``blocks``: of a delivery, the blocks that tasks compute.
    """

    stage: Stage
    prepared: Prepared
    reducing: ReduceTasks | None
    tasks: int
    threads: int
    nbytes: int
    budget: Budget
    known: Known | None = None
    delivery: Delivery | None = None
    blocks: Sequence[int] = ()

    @property
    def spare(self) -> int:
        """Bytes of the limit that are left when so many tasks run."""
        return max(0, self.budget.limit - self.budget.kept - self.threads * self.nbytes)

    @property
    def fetches(self) -> bool:
        """Whether what blocks read is fetched before."""
        return self.threads < WAITING and _is_fetched(self.prepared.compiled)

    @property
    def skips(self) -> bool:
        """Whether some blocks may be known, so that nothing is read for them."""
        return self.reducing.skips if self.reducing else self.known is not None

    @property
    def node(self) -> Node:
        """What is computed block by block: the stage's node, or what its reductions look at."""
        return self.reducing.input if self.reducing else self.stage.nodes[0]

    def boxes(self) -> Iterator[Box]:
        """The blocks of ``node`` that tasks compute, as far as they look at it at all."""
        if self.reducing:
            return self.reducing.boxes()
        grid = self.prepared.grid
        if self.delivery is not None:
            return self._boxes_to_deliver(self.delivery)
        if self.known is None:
            return (grid.box(number) for number in range(grid.count))
        dims = tuple(range(self.node.ndim))
        parts = find_parts(grid, [0] * len(dims), dims, self.known, lambda _: False)
        return (grid.box(number) for number in parts.blocks)

    def _boxes_to_deliver(self, delivery: Delivery) -> Iterator[Box]:
        """Those for which something is read."""
        grid = self.prepared.grid
        for number in self.blocks:
            box = grid.box(number)
            if self.known is not None and self.known.constant_in(box) is not None:
                continue
            place = [(lo - o, hi - o) for (lo, hi), o in zip(box, grid.origin, strict=True)]
            if not delivery.seems_written(tuple(place)):
                yield box


class Schedule(NamedTuple):
    """All passes of a run, in order.

    ``roots``: the plans as they run, with what they share taken out. ``stored``: the array of every
    stage. ``kept``: bytes of those that are no result.
    """

    roots: list[Node]
    passes: list[Pass]
    stored: dict[Node, np.ndarray]
    kept: int


def pass_memory(one: Pass) -> int:
    """Bytes that the tasks of a pass hold together at most, beside the arrays they fill."""
    if not one.tasks:
        return 0
    if one.reducing and not one.fetches:
        return min(one.threads, one.tasks) * one.nbytes
    largest = lower(one.prepared.compiled, one.prepared.grid.largest())
    nbytes = one.nbytes if one.reducing or one.delivery else task_memory(largest)
    held = min(one.threads, one.tasks) * nbytes
    if not one.fetches:
        return held
    return held + min(one.spare, min(WAITING, one.prepared.grid.count) * unit_of(largest).nbytes)


def _in_passes(roots: Sequence[Node], room: int) -> tuple[list[Node], frozenset[Node]]:
    """The plans as passes, where some of their nodes are better computed so; and what to keep."""
    kinds = set(map(type, computed_nodes(roots)))
    held: frozenset[Node] = frozenset()
    if Contract in kinds:
        from lazytensor.exec.contract import kept_inputs, with_panels

        roots = with_panels(roots)
        held = kept_inputs(roots, room)
    if kinds.isdisjoint(SKETCHES):
        return list(roots), held
    from lazytensor.exec.sketch import expand

    return expand(roots, held, min(room, _MOST_SHARED))


def part_of(node: Node, box: Box) -> tuple[slice, ...]:
    """Positions of a box of coordinates."""
    return tuple(
        [
            slice(lo - origin, hi - origin)
            for (lo, hi), origin in zip(box, node.domain.inclusive_min, strict=True)
        ]
    )


def schedule(
    roots: Sequence[Node],
    array: Callable[[Node, int | None], np.ndarray | Delivery],
    flags: QueryOptFlags,
    *,
    threads: int | None,
    limit: int,
) -> Schedule:
    """How optimised plans are run: in which passes, cut into which tasks. Nothing is read.

    ``array(node, number)`` is where a stage puts a node: an output, or None for what is kept. A
    delivery takes the blocks of one that is no reduction instead of an array. ``flags``: whether
    passes share what they read, and operations are one step. ``threads``, ``limit``: of the engine,
    in bytes.
    """
    with collector_waits(len(roots) > MANY or any(map(is_large, roots))):
        return _schedule(roots, array, flags, threads, limit)


def _schedule(
    roots: Sequence[Node],
    array: Callable[[Node, int | None], np.ndarray | Delivery],
    flags: QueryOptFlags,
    threads: int | None,
    limit: int,
) -> Schedule:
    sharing = flags.comm_subplan_elim
    trim_to(limit)
    stored: dict[Node, np.ndarray] = {}
    passes: list[Pass] = []
    kept = 0
    if all(map(is_pasted, roots)):
        stages = one_stage_each(roots)
    else:
        roots, held = _in_passes(roots, limit // 4)
        stages = plan_stages(roots, held, together=sharing)
        found = share(roots, stages, min(limit // 2, _MOST_SHARED), held) if sharing else None
        if found is not None:
            roots, held = found
            stages = plan_stages(roots, held)
    delivered: list[tuple[Stage, Delivery]] = []
    for stage in stages:
        arrays: list[np.ndarray] = []
        for node, root in zip(stage.nodes, stage.roots, strict=True):
            place = array(node, root)
            if isinstance(place, Delivery):
                delivered.append((stage, place))
            else:
                arrays.append(place)
        if not arrays:
            continue
        # What is kept is there as soon as the pass that fills it begins.
        kept += sum(
            node.nbytes for node, root in zip(stage.nodes, stage.roots, strict=True) if root is None
        )
        budget = Budget(limit, kept)
        passes.append(_pass(stage, arrays, stored, budget, threads, fusing=flags.fusion))
        stored.update(zip(stage.nodes, arrays, strict=True))
    # Nothing needs what is delivered, and sinks may want some of the arrays before.
    for stage, delivery in delivered:
        budget = Budget(limit, kept)
        passes.append(_delivering(stage, delivery, stored, budget, threads, fusing=flags.fusion))
    return Schedule(list(roots), passes, stored, kept)


def _pass(
    stage: Stage,
    arrays: list[np.ndarray],
    stored: Mapping[Node, np.ndarray],
    budget: Budget,
    asked: int | None,
    *,
    fusing: bool,
) -> Pass:
    reductions = stage.reductions
    node = reductions[0].x if reductions else stage.nodes[0]
    # Reductions need room for their temporaries beside the block.
    room = budget.free // 4 if reductions else budget.free
    shared = thread_count(asked) if all(map(_may_be_cut, reductions)) else 0
    prepared = prepare(node, stored, room, fusing=fusing, threads=shared)
    count, nbytes = prepared.grid.count, prepared.nbytes
    reducing = known = None
    if not reductions:
        known = known_of(prepared.compiled, prepared.grid.count)
    else:
        from lazytensor.exec.reduce import ReduceTasks

        compiled, grid = prepared.compiled, prepared.grid
        reducing = ReduceTasks(reductions, compiled, grid, arrays, budget, stored)
        count = reducing.count if node.size else 0
        nbytes += reducing.nbytes
    threads = _threads(asked, budget, nbytes, prepared.compiled)
    if reducing:
        reducing.ahead = 2 * threads
    return Pass(stage, prepared, reducing, count, threads, nbytes, budget, known)


def _delivering(
    stage: Stage,
    delivery: Delivery,
    stored: Mapping[Node, np.ndarray],
    budget: Budget,
    asked: int | None,
    *,
    fusing: bool,
) -> Pass:
    """A stage whose blocks go to targets."""
    node = stage.nodes[0]
    planned = plan_blocks(node, delivery, stored, budget, thread_count(asked), fusing=fusing)
    prepared = Prepared(*planned)
    known = known_of(prepared.compiled, prepared.grid.count)
    threads = _threads(asked, budget, prepared.nbytes, prepared.compiled, puts_far=delivery.waits)
    blocks, nbytes = blocks_left(prepared.grid, known, delivery), prepared.nbytes
    tasks = len(blocks)
    return Pass(stage, prepared, None, tasks, threads, nbytes, budget, known, delivery, blocks)


def _threads(
    asked: int | None, budget: Budget, nbytes: int, compiled: Compiled, *, puts_far: bool = False
) -> int:
    """How many tasks of so many bytes may run at once; ``puts_far``: each waits when it writes."""
    fit = budget.free // max(1, nbytes)
    waits = puts_far or (compiled.remote and not _is_fetched(compiled))
    return max(1, min(thread_count(asked, remote=waits), fit))


def _is_fetched(compiled: Compiled) -> bool:
    """Whether all that a plan would wait for can be fetched before; what is kept, is not."""
    read = [node.source for node in compiled.order if isinstance(node, Scan)]
    there = [fetches(source) for source in read if getattr(source, "remote", False)]
    return compiled.remote and all(there) and CACHING.get() is None


def job_of(one: Pass, stored: Mapping[Node, np.ndarray]) -> Job:
    """The tasks of a pass; raises ``MemoryLimitError`` if not even one of them fits."""
    node, budget, known = one.node, one.budget, one.known
    compiled, grid, nbytes = one.prepared
    name = TaskOf(node)
    budget.check(nbytes, name)
    spare = Spare(one.spare)
    if one.reducing:
        reducing = one.reducing
        reducing.fill_empty()
        around = _around(one, spare, reducing.blocks, lambda: reducing.in_turns(one.threads))
        return Job(one.tasks, reducing.run, one.threads, around)
    if one.delivery is not None:
        blocks = Blocks(compiled, budget, name, one.delivery.beside(node))
        work = delivered_block(one.delivery, one.blocks, grid, blocks, budget, known)
        return Job(one.tasks, work, one.threads, _around(one, spare, blocks, one.boxes))
    out = stored[node]
    blocks = Blocks(compiled, budget, name)
    # One task fits, as has just been found out, and nobody else waits for memory.
    alone = one.tasks == 1 and not one.fetches

    def fill(number: int, scratch: Scratch) -> None:
        box = grid.box(number)
        value = None if known is None else known.constant_in(box)
        target = window(out, part_of(node, box))
        if value is not None:
            target[...] = value
        elif alone:
            run_program(lower(compiled, box), scratch, target)
        else:
            with blocks.lent(box) as program:
                run_program(program, scratch, target)

    return Job(one.tasks, fill, one.threads, _around(one, spare, blocks, one.boxes))


def _around(
    one: Pass, spare: Spare, blocks: Blocks, boxes: Callable[[], Iterator[Box]]
) -> Callable[[], AbstractContextManager[None]]:
    """What a pass runs in: what its tasks leave of the memory is used to fetch ahead."""

    @contextmanager
    def around() -> Iterator[None]:
        with sparing(spare):
            if not one.fetches:
                yield
                return
            with blocks.fetching(boxes(), spare):
                yield

    return around
