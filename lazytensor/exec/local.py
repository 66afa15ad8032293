"""The local engine: tasks in threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np

from lazytensor.config import check_option, option
from lazytensor.exec.buffers import Scratch, aligned_empty
from lazytensor.exec.events import Run, start_run
from lazytensor.exec.lower import READS, Compiled, lower
from lazytensor.exec.memory import Budget, TaskOf, memory_limit, thread_count
from lazytensor.exec.physical import Program
from lazytensor.exec.pool import CancelToken, run_tasks
from lazytensor.exec.reduce import ReduceTasks
from lazytensor.exec.sharing import share
from lazytensor.exec.stages import Stage, plan_stages
from lazytensor.exec.steps import run_program
from lazytensor.exec.window import Window, shared_read, window_of
from lazytensor.exec.workgrid import WorkGrid, choose_grid
from lazytensor.plan.counters import count
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box, Reading, window

__all__ = ["LocalEngine", "Prepared", "part_of", "prepare"]

_MOST_SHARED = 256 << 20
"""Bytes of sub-plans that several results share and that are kept for them, at most."""

_ONE_BATCH = 16 << 20
"""Bytes of a remote array that are read as one task. Requests of several tasks leave one after the
other, as their threads get hold of the interpreter, and cost twice the processor time; decoding so
much takes less than a network brings it in."""


class Prepared(NamedTuple):
    """A plan cut into blocks: ready for lowering any of them. One block needs ``nbytes``."""

    compiled: Compiled
    grid: WorkGrid
    nbytes: int


def prepare(node: Node, stored: Mapping[Node, np.ndarray], limit: int) -> Prepared:
    """Cut a plan into blocks that need no more than ``limit`` bytes, where its cells allow it."""
    compiled = Compiled(node, stored)
    known = compiled.programs

    def cost(box: Box) -> int:
        program = known[box] = lower(compiled, box)
        return program.moved

    grid = choose_grid(node, cost, limit)
    if not grid.count:
        return Prepared(compiled, grid, 0)
    # Kept is that of a largest block, which in a small plan is the only one; it is asked for again.
    largest = grid.largest()
    sample = lower(compiled, largest)
    known.clear()
    known[largest] = sample
    return Prepared(compiled, grid, sample.nbytes)


class _Job(NamedTuple):
    """A stage that is ready to run: its tasks, and how many of them may run at once."""

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
    option ``max_memory``, else a quarter of what the process may use). ``kernels``: ``"numpy"``, or
    ``"auto"`` for what suits the work (default: option ``kernels``); both are NumPy so far.

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
    ) -> None:
        """Compute optimised plans into their outputs (of their shape and dtype).

        Everything is planned before anything is read, so that a run that cannot fit into
        ``max_memory`` is refused at once.
        """
        limit = memory_limit(self.max_memory)
        found = window_of(roots[0], limit) if len(roots) == 1 else None
        if found is not None and self._run_window(found, outs[0], progress, cancel):
            return
        stored: dict[Node, np.ndarray] = {}
        jobs: list[_Job] = []
        kept = 0
        roots, shared = share(roots, min(limit // 2, _MOST_SHARED))
        for stage in plan_stages(roots, shared):
            arrays = [
                outs[root] if root is not None else aligned_empty(node.shape, node.dtype)
                for node, root in zip(stage.nodes, stage.roots, strict=True)
            ]
            jobs.append(self._job(stage, arrays, stored, Budget(limit, kept)))
            stored.update(zip(stage.nodes, arrays, strict=True))
            kept += sum(
                node.nbytes
                for node, root in zip(stage.nodes, stage.roots, strict=True)
                if root is None
            )
        for job in jobs:
            _run_job(job, progress, cancel)
        for root, out in zip(roots, outs, strict=True):
            if stored[root] is not out:
                np.copyto(out, stored[root], casting="no")

    def _run_window(
        self, found: Window, out: np.ndarray, progress: object, cancel: CancelToken | None
    ) -> bool:
        """Run a plan that is one read as one task; False, and nothing done, if it must be cut."""
        reading = shared_read(found.program, out) if found.worth_sharing else None
        if reading is not None:
            _run_together(reading, thread_count(self.threads), progress, cancel)
        elif found.whole or _is_one_batch(found.program):
            _run_at_once(found.program, out, progress, cancel)
        else:
            return False
        return True

    def _job(
        self,
        stage: Stage,
        arrays: list[np.ndarray],
        stored: Mapping[Node, np.ndarray],
        budget: Budget,
    ) -> _Job:
        reductions = stage.reductions
        node = reductions[0].x if reductions else stage.nodes[0]
        name = TaskOf(node)
        # Reductions need room for their temporaries beside the block.
        room = budget.free // 4 if reductions else budget.free
        compiled, grid, nbytes = prepare(node, stored, room)
        budget.check(nbytes, name)
        if reductions:
            tasks = ReduceTasks(reductions, compiled, grid, arrays, budget)
            if tasks.fill_empty():
                return _Job(0, tasks.run, 1)
            threads = self._threads(budget, nbytes + tasks.nbytes, remote=compiled.remote)
            return _Job(tasks.count, tasks.run, threads)
        out = arrays[0]

        def work(number: int, scratch: Scratch) -> None:
            box = grid.box(number)
            program = lower(compiled, box)
            with budget.holding(program.nbytes, name):
                run_program(program, scratch, window(out, part_of(node, box)))

        return _Job(grid.count, work, self._threads(budget, nbytes, remote=compiled.remote))

    def _threads(self, budget: Budget, nbytes: int, *, remote: bool) -> int:
        """How many tasks of so many bytes may run at once."""
        fit = budget.free // max(1, nbytes)
        return max(1, min(thread_count(self.threads, remote=remote), fit))


def _is_one_batch(program: Program) -> bool:
    """Whether a read is better asked for with one batch of requests than cut into tasks."""
    step = program.steps[0]
    in_batches = step.op in READS and step.op != "gather"
    return in_batches and program.moved <= _ONE_BATCH and getattr(step.args[0], "remote", False)


def _run_at_once(
    program: Program, out: np.ndarray, progress: object, cancel: CancelToken | None
) -> None:
    """The run of a plan that is one task."""

    def work(_: int, scratch: Scratch) -> None:
        run_program(program, scratch, out)

    _run_job(_Job(1, work, 1), progress, cancel)


def _run_together(
    reading: Reading, threads: int, progress: object, cancel: CancelToken | None
) -> None:
    """The run of a plan that is one read, with several threads at it."""

    def share(number: int, scratch: Scratch) -> None:
        reading.work()

    def work(number: int, scratch: Scratch) -> None:
        run_tasks(threads, share, threads=threads, run=Run((), 0), cancel=cancel)
        reading.end()

    with closing(reading):
        _run_job(_Job(1, work, 1), progress, cancel)


def _run_job(job: _Job, progress: object, cancel: CancelToken | None) -> None:
    run = start_run(job.tasks, progress)
    try:
        run_tasks(job.tasks, job.work, threads=job.threads, run=run, cancel=cancel)
    finally:
        run.stop()
    count("tasks", job.tasks)
