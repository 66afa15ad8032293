"""How plans are run that are more than one read: in which passes, cut into which tasks.

Everything is planned before anything is read. It is a module of its own because a process that only
reads needs none of it (``exec.local``), and importing it takes longer than reading a chunk. So it
is with what reductions, contractions and sketches alone need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lazytensor.config import QueryOptFlags
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.compositing import computed_nodes
from lazytensor.exec.footprint import task_memory
from lazytensor.exec.known import Known, known_of
from lazytensor.exec.lower import Compiled, lower, volume
from lazytensor.exec.memory import Budget, TaskOf, thread_count
from lazytensor.exec.outputs import trim_to
from lazytensor.exec.parts import find_parts
from lazytensor.exec.pasted import is_pasted
from lazytensor.exec.pool import Job
from lazytensor.exec.sharing import share
from lazytensor.exec.stages import SKETCHES, Stage, one_stage_each, plan_stages
from lazytensor.exec.steps import run_program
from lazytensor.exec.workgrid import WorkGrid, choose_grid, middle_of
from lazytensor.plan.garbage import collector_waits, is_large
from lazytensor.plan.node import Node
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
    node: Node, stored: Mapping[Node, np.ndarray], limit: int, *, fusing: bool = True
) -> Prepared:
    """Cut a plan into blocks that need no more than ``limit`` bytes, where its cells allow it.

    ``fusing``: whether operations that feed each other are one step.
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

    grid = choose_grid(node, cost, limit)
    if not grid.count:
        return Prepared(compiled, grid, 0)
    # Kept is that of a largest block, which in a small plan is the only one; it is asked for again.
    largest = grid.largest()
    sample = lower(compiled, largest)
    known.clear()
    known[largest] = sample
    return Prepared(compiled, grid, sample.nbytes)


class Pass(NamedTuple):
    """A stage that is ready to run: so many ``tasks``, ``threads`` of them at once.

    ``nbytes``: what one task holds at most. ``reducing``: the tasks of a stage of reductions, else
    None.
    """

    stage: Stage
    prepared: Prepared
    reducing: ReduceTasks | None
    tasks: int
    threads: int
    nbytes: int
    budget: Budget
    known: Known | None = None

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
        if self.known is None:
            return (grid.box(number) for number in range(grid.count))
        dims = tuple(range(self.node.ndim))
        parts = find_parts(grid, [0] * len(dims), dims, self.known, lambda _: False)
        return (grid.box(number) for number in parts.blocks)


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
    nbytes = one.nbytes
    if not one.reducing:
        nbytes = task_memory(lower(one.prepared.compiled, one.prepared.grid.largest()))
    return min(one.threads, one.tasks) * nbytes


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
    array: Callable[[Node, int | None], np.ndarray],
    flags: QueryOptFlags,
    *,
    threads: int | None,
    limit: int,
) -> Schedule:
    """How optimised plans are run: in which passes, cut into which tasks. Nothing is read.

    ``array(node, number)`` is where a stage puts a node: an output, or None for what is kept.
    ``flags``: whether passes share what they read, and operations are one step. ``threads``,
    ``limit``: of the engine, in bytes.
    """
    with collector_waits(len(roots) > MANY or any(map(is_large, roots))):
        return _schedule(roots, array, flags, threads, limit)


def _schedule(
    roots: Sequence[Node],
    array: Callable[[Node, int | None], np.ndarray],
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
    for stage in stages:
        arrays = [array(node, root) for node, root in zip(stage.nodes, stage.roots, strict=True)]
        # What is kept is there as soon as the pass that fills it begins.
        kept += sum(
            node.nbytes for node, root in zip(stage.nodes, stage.roots, strict=True) if root is None
        )
        budget = Budget(limit, kept)
        passes.append(_pass(stage, arrays, stored, budget, threads, fusing=flags.fusion))
        stored.update(zip(stage.nodes, arrays, strict=True))
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
    prepared = prepare(node, stored, room, fusing=fusing)
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
    threads = _threads(asked, budget, nbytes, remote=prepared.compiled.remote)
    if reducing:
        reducing.ahead = 2 * threads
    return Pass(stage, prepared, reducing, count, threads, nbytes, budget, known)


def _threads(asked: int | None, budget: Budget, nbytes: int, *, remote: bool) -> int:
    """How many tasks of so many bytes may run at once."""
    fit = budget.free // max(1, nbytes)
    return max(1, min(thread_count(asked, remote=remote), fit))


def job_of(one: Pass, stored: Mapping[Node, np.ndarray]) -> Job:
    """The tasks of a pass; raises ``MemoryLimitError`` if not even one of them fits."""
    node, budget, known = one.node, one.budget, one.known
    compiled, grid, nbytes = one.prepared
    name = TaskOf(node)
    budget.check(nbytes, name)
    if one.reducing:
        one.reducing.fill_empty()
        return Job(one.tasks, one.reducing.run, one.threads)
    out = stored[node]
    # One task fits, as has just been found out, and nobody else waits for memory.
    alone = one.tasks == 1

    def work(number: int, scratch: Scratch) -> None:
        box = grid.box(number)
        value = None if known is None else known.constant_in(box)
        if value is not None:
            window(out, part_of(node, box))[...] = value
            return
        program = lower(compiled, box)
        target = window(out, part_of(node, box))
        if alone:
            run_program(program, scratch, target)
            return
        with budget.holding(program.nbytes, name):
            run_program(program, scratch, target)

    return Job(one.tasks, work, one.threads)
