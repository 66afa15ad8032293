"""The local engine: tasks in threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np

from lazytensor.config import QueryOptFlags, check_option, option
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.compositing import computed_nodes
from lazytensor.exec.contract import kept_inputs, with_panels
from lazytensor.exec.events import Run, start_run
from lazytensor.exec.footprint import task_memory
from lazytensor.exec.joined import Result
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.known import Known, known_of
from lazytensor.exec.lower import READS, Compiled, lower, volume
from lazytensor.exec.memory import Budget, TaskOf, memory_limit, thread_count
from lazytensor.exec.outputs import output, trim_to
from lazytensor.exec.parts import find_parts
from lazytensor.exec.pasted import is_pasted
from lazytensor.exec.physical import Program, Step
from lazytensor.exec.pool import CancelToken, run_tasks
from lazytensor.exec.recording import RECORDER, crew_of_run, step_of_run
from lazytensor.exec.reduce import ReduceTasks
from lazytensor.exec.sharing import share
from lazytensor.exec.sketch import SKETCHES, expand
from lazytensor.exec.stages import Stage, one_stage_each, plan_stages
from lazytensor.exec.steps import run_program
from lazytensor.exec.window import Window, is_shared, shared_read, window_of, windows_of
from lazytensor.exec.workgrid import WorkGrid, choose_grid, middle_of
from lazytensor.plan.counters import count
from lazytensor.plan.garbage import collector_waits, is_large
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.source import Box, Reading, window

__all__ = ["LocalEngine", "Pass", "Prepared", "Schedule", "part_of", "pass_memory", "prepare"]

_MOST_SHARED = 256 << 20
"""Bytes of sub-plans that several results share and that are kept for them, at most."""

_MANY = 1 << 8
"""Nodes of a plan, each of which is looked at when blocks are chosen."""

_ALL = QueryOptFlags()

_ONE_BATCH = 16 << 20
"""Bytes of a remote array that are read as one task. Requests of several tasks leave one after the
other, as their threads get hold of the interpreter, and cost twice the processor time; decoding so
much takes less than a network brings it in."""


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
    most = node.size if len(compiled.rank) <= _MANY else node.size * _MANY // len(compiled.rank)

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
        roots = with_panels(roots)
        held = kept_inputs(roots, room)
    if kinds.isdisjoint(SKETCHES):
        return list(roots), held
    return expand(roots, held, min(room, _MOST_SHARED))


class _Job(NamedTuple):
    """Tasks, and how many of them may run at once."""

    tasks: int
    work: Callable[[int, Scratch], None]
    threads: int


def part_of(node: Node, box: Box) -> tuple[slice, ...]:
    """Positions of a box of coordinates."""
    return tuple(
        [
            slice(lo - origin, hi - origin)
            for (lo, hi), origin in zip(box, node.domain.inclusive_min, strict=True)
        ]
    )


class LocalEngine:
    """Computes in threads, block by block.

    ``threads``: worker threads (default: option ``threads``, else the CPUs this process may use,
    and at least 16 for what is read over a network, where threads mostly wait).
    ``max_memory``: bytes that running tasks may hold together, the results not counted (default:
    option ``max_memory``, else a quarter of what the process may use). ``kernels``: ``"numpy"``;
    ``"numba"`` for compiled code wherever there is some, which the first run waits for; ``"auto"``
    for compiled code where that repays it, as soon as it is there (default: option ``kernels``).

    >>> lt.arange(6).collect(engine=lt.LocalEngine(threads=1))
    array([0, 1, 2, 3, 4, 5])
    """

    name = "local"

    def __init__(
        self,
        threads: int | None = None,
        max_memory: int | str | None = None,
        kernels: str | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be positive, not {threads}")
        self.threads = threads
        self.max_memory = max_memory
        self._kernels = None if kernels is None else check_option("kernels", kernels)
        if max_memory is not None:
            memory_limit(max_memory)

    @property
    def kernels(self) -> str:
        """Which kernels a run uses: the engine's own setting, else the option as it holds here."""
        kernels: str = option("kernels") if self._kernels is None else self._kernels
        return kernels

    def __repr__(self) -> str:
        return f"LocalEngine(threads={self.threads}, max_memory={self.max_memory!r})"

    def run(
        self,
        roots: Sequence[Node],
        outs: Sequence[np.ndarray],
        *,
        progress: object = None,
        cancel: CancelToken | None = None,
        optimizations: QueryOptFlags | None = None,
    ) -> None:
        """Compute optimised plans into their outputs (of their shape and dtype).

        Everything is planned before anything is read, so that a run that cannot fit into
        ``max_memory`` is refused at once. Of ``optimizations`` only ``comm_subplan_elim`` and
        ``fusion`` concern the engine.
        """
        found = self.window(roots)
        if found is not None:
            with kernels_of_run(self.kernels):
                result = outs[0] if len(roots) == 1 else outs
                if self._run_window(found, result, progress, cancel):
                    return

        def array(node: Node, root: int | None) -> np.ndarray:
            return output(node.shape, node.dtype) if root is None else outs[root]

        flags = _ALL if optimizations is None else optimizations
        # What members of a pass are made of is chosen when it is planned.
        with kernels_of_run(self.kernels):
            schedule = self.schedule(roots, array, flags)
            jobs = [_job(one, schedule.stored) for one in schedule.passes]
            for job in jobs:
                _run_job(job, progress, cancel)
        for root, out in zip(schedule.roots, outs, strict=True):
            if schedule.stored[root] is not out:
                np.copyto(out, schedule.stored[root], casting="no")

    def window(self, roots: Sequence[Node]) -> Window | None:
        """The one read that the plans are, if they are that; it may still have to be cut."""
        if len(roots) != 1:
            return windows_of(roots, memory_limit(self.max_memory)) if roots else None
        return window_of(roots[0], memory_limit(self.max_memory))

    def one_task(self, roots: Sequence[Node]) -> Program | None:
        """The program of plans that are run as one read by one task, else None."""
        found = self.window(roots)
        if found is None:
            return None
        at_once = found.whole or _is_one_batch(found.program)
        return found.program if at_once or is_shared(found.program) else None

    def readers(self, program: Program) -> int:
        """How many threads work on the one read of a ``one_task``."""
        return thread_count(self.threads) if is_shared(program) else 1

    def schedule(
        self,
        roots: Sequence[Node],
        array: Callable[[Node, int | None], np.ndarray],
        flags: QueryOptFlags = _ALL,
    ) -> Schedule:
        """How optimised plans are run: in which passes, cut into which tasks. Nothing is read.

        ``array(node, number)`` is where a stage puts a node: an output, or None for what is kept.
        ``flags``: whether passes share what they read, and operations are one step.
        """
        with collector_waits(len(roots) > _MANY or any(map(is_large, roots))):
            return self._schedule(roots, array, flags)

    def _schedule(
        self,
        roots: Sequence[Node],
        array: Callable[[Node, int | None], np.ndarray],
        flags: QueryOptFlags,
    ) -> Schedule:
        sharing = flags.comm_subplan_elim
        limit = memory_limit(self.max_memory)
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
            arrays = [
                array(node, root) for node, root in zip(stage.nodes, stage.roots, strict=True)
            ]
            # What is kept is there as soon as the pass that fills it begins.
            kept += sum(
                node.nbytes
                for node, root in zip(stage.nodes, stage.roots, strict=True)
                if root is None
            )
            budget = Budget(limit, kept)
            passes.append(self._pass(stage, arrays, stored, budget, fusing=flags.fusion))
            stored.update(zip(stage.nodes, arrays, strict=True))
        return Schedule(list(roots), passes, stored, kept)

    def _run_window(
        self, found: Window, out: Result, progress: object, cancel: CancelToken | None
    ) -> bool:
        """Run a plan that is one read as one task; False, and nothing done, if it must be cut."""
        step, reading = found.program.steps[0], None
        if found.worth_sharing:
            with step_of_run(step, ahead=True):
                reading = shared_read(found.program, out)
        if reading is not None:
            _run_together(reading, step, thread_count(self.threads), progress, cancel)
        elif isinstance(out, np.ndarray) and (found.whole or _is_one_batch(found.program)):
            _run_at_once(found.program, out, progress, cancel)
        else:
            return False
        return True

    def _pass(
        self,
        stage: Stage,
        arrays: list[np.ndarray],
        stored: Mapping[Node, np.ndarray],
        budget: Budget,
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
            compiled, grid = prepared.compiled, prepared.grid
            reducing = ReduceTasks(reductions, compiled, grid, arrays, budget, stored)
            count = reducing.count if node.size else 0
            nbytes += reducing.nbytes
        threads = self._threads(budget, nbytes, remote=prepared.compiled.remote)
        if reducing:
            reducing.ahead = 2 * threads
        return Pass(stage, prepared, reducing, count, threads, nbytes, budget, known)

    def _threads(self, budget: Budget, nbytes: int, *, remote: bool) -> int:
        """How many tasks of so many bytes may run at once."""
        fit = budget.free // max(1, nbytes)
        return max(1, min(thread_count(self.threads, remote=remote), fit))


def _job(one: Pass, stored: Mapping[Node, np.ndarray]) -> _Job:
    """The tasks of a pass; raises ``MemoryLimitError`` if not even one of them fits."""
    node, budget, known = one.node, one.budget, one.known
    compiled, grid, nbytes = one.prepared
    name = TaskOf(node)
    budget.check(nbytes, name)
    if one.reducing:
        one.reducing.fill_empty()
        return _Job(one.tasks, one.reducing.run, one.threads)
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

    return _Job(one.tasks, work, one.threads)


def _is_one_batch(program: Program) -> bool:
    """Whether a read is better asked for with one batch of requests than cut into tasks."""
    step = program.steps[0]
    in_batches = step.op in READS and step.op not in ("gather", "read_windows")
    return in_batches and program.moved <= _ONE_BATCH and getattr(step.args[0], "remote", False)


def _run_at_once(
    program: Program, out: np.ndarray, progress: object, cancel: CancelToken | None
) -> None:
    """The run of a plan that is one task."""

    def work(_: int, scratch: Scratch) -> None:
        run_program(program, scratch, out)

    _run_job(_Job(1, work, 1), progress, cancel)


def _run_together(
    reading: Reading, step: Step, threads: int, progress: object, cancel: CancelToken | None
) -> None:
    """The run of a plan that is one read, with several threads at it."""

    def share(number: int, scratch: Scratch) -> None:
        with step_of_run(step):
            reading.work()

    def work(number: int, scratch: Scratch) -> None:
        with crew_of_run(threads):
            run_tasks(threads, share, threads=threads, run=Run((), 0), cancel=cancel)
        with step_of_run(step):
            reading.end()

    with closing(reading):
        _run_job(_Job(1, work, 1), progress, cancel)


def _run_job(job: _Job, progress: object, cancel: CancelToken | None) -> None:
    run = start_run(job.tasks, progress)
    recorder = RECORDER.get()
    try:
        if recorder is None:
            run_tasks(job.tasks, job.work, threads=job.threads, run=run, cancel=cancel)
        else:
            with recorder.stage(job.tasks, job.threads):
                work = recorder.task(job.work)
                run_tasks(job.tasks, work, threads=job.threads, run=run, cancel=cancel)
    finally:
        run.stop()
    count("tasks", job.tasks)
