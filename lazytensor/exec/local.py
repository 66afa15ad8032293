"""The local engine: tasks in threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from lazytensor.config import QueryOptFlags, check_option, option
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.events import Run, start_run
from lazytensor.exec.joined import Result
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.memory import Spare, memory_limit, sparing, thread_count
from lazytensor.exec.outputs import output
from lazytensor.exec.physical import READS, Program, Step
from lazytensor.exec.pool import CancelToken, Job, run_tasks
from lazytensor.exec.recording import RECORDER, crew_of_run, step_of_run
from lazytensor.exec.steps import run_program
from lazytensor.exec.window import Window, is_shared, shared_read, window_of, windows_of
from lazytensor.plan.counters import count
from lazytensor.plan.garbage import importing
from lazytensor.plan.node import Node
from lazytensor.plan.source import Reading

if TYPE_CHECKING:
    from lazytensor.exec.delivering import Delivery
    from lazytensor.exec.schedule import Schedule
    from lazytensor.plan.sink import Target

__all__ = ["LocalEngine"]

_ALL = QueryOptFlags()

_ONE_BATCH = 16 << 20
"""Bytes of a remote array that are read as one task. Requests of several tasks leave one after the
other, as their threads get hold of the interpreter, and cost twice the processor time; decoding so
much takes less than a network brings it in."""


class LocalEngine:
    """Computes in threads, block by block.

    ``threads``: threads that compute (default: option ``threads``, else the CPUs this process may
    use, and at least 16 for what mostly waits when it is read, and cannot be fetched before). What
    is read over a network is fetched ahead by others, which do nothing but wait.
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
        settings = f"threads={self.threads}, max_memory={self.max_memory!r}"
        return f"LocalEngine({settings}, kernels={self._kernels!r})"

    def run(
        self,
        roots: Sequence[Node],
        outs: Sequence[np.ndarray | Target],
        *,
        progress: object = None,
        cancel: CancelToken | None = None,
        optimizations: QueryOptFlags | None = None,
    ) -> None:
        """Compute optimised plans into their outputs (of their shape and dtype).

        Targets of sinks are given the values block by block. Everything is planned before anything
        is read, so that a run that cannot fit into ``max_memory`` is refused at once. Of
        ``optimizations`` only ``comm_subplan_elim`` and ``fusion`` concern the engine.
        """
        arrays = [out for out in outs if isinstance(out, np.ndarray)]
        if len(arrays) < len(outs):
            self._run_sinks(roots, outs, progress, cancel, optimizations)
            return
        found = self.window(roots)
        if found is not None:
            with kernels_of_run(self.kernels):
                result = arrays[0] if len(roots) == 1 else arrays
                if self._run_window(found, result, progress, cancel):
                    return

        def array(node: Node, root: int | None) -> np.ndarray:
            return output(node.shape, node.dtype) if root is None else arrays[root]

        flags = _ALL if optimizations is None else optimizations
        # What members of a pass are made of is chosen when it is planned.
        with kernels_of_run(self.kernels):
            schedule = self.schedule(roots, array, flags)
            for job in _jobs(schedule):
                _run_job(job, progress, cancel)
        for root, out in zip(schedule.roots, arrays, strict=True):
            if schedule.stored[root] is not out:
                np.copyto(out, schedule.stored[root], casting="no")

    def _run_sinks(
        self,
        roots: Sequence[Node],
        outs: Sequence[np.ndarray | Target],
        progress: object,
        cancel: CancelToken | None,
        flags: QueryOptFlags | None,
    ) -> None:
        """A run some of whose results go to targets."""
        from lazytensor.exec.delivering import Deliveries

        places = Deliveries(roots, outs)
        with kernels_of_run(self.kernels):
            schedule = self.schedule(roots, places.place, _ALL if flags is None else flags)
            for job in _jobs(schedule):
                _run_job(job, progress, cancel)
        places.settle(schedule.roots, schedule.stored)

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
        array: Callable[[Node, int | None], np.ndarray | Delivery],
        flags: QueryOptFlags = _ALL,
    ) -> Schedule:
        """How optimised plans are run: in which passes, cut into which tasks. Nothing is read.

        ``array(node, number)`` is where a stage puts a node: an output, or None for what is kept. A
        delivery takes the blocks of what is no reduction. ``flags``: whether passes share what they
        read, and operations are one step.
        """
        limit = memory_limit(self.max_memory)
        return _scheduler()(roots, array, flags, threads=self.threads, limit=limit)

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
            spare = memory_limit(self.max_memory) - found.program.nbytes
            _run_at_once(found.program, out, spare, progress, cancel)
        else:
            return False
        return True


@cache
def _scheduler() -> Callable[..., Schedule]:
    """What cuts plans into tasks, imported with the first plan that needs it."""
    with importing():
        from lazytensor.exec.schedule import schedule

    return schedule


def _jobs(schedule: Schedule) -> list[Job]:
    """The tasks of all passes; an error says that some cannot be run, before any is."""
    from lazytensor.exec.schedule import job_of

    return [job_of(one, schedule.stored) for one in schedule.passes]


def _is_one_batch(program: Program) -> bool:
    """Whether a read is better asked for with one batch of requests than cut into tasks."""
    step = program.steps[0]
    in_batches = step.op in READS and step.op not in ("gather", "read_windows")
    return in_batches and program.moved <= _ONE_BATCH and getattr(step.args[0], "remote", False)


def _run_at_once(
    program: Program,
    out: np.ndarray,
    spare: int,
    progress: object,
    cancel: CancelToken | None,
) -> None:
    """The run of a plan that is one task, which leaves ``spare`` bytes."""

    def work(_: int, scratch: Scratch) -> None:
        run_program(program, scratch, out)

    # Of the reads that a plan may be, this one alone asks for more than one batch.
    around = partial(sparing, Spare(spare)) if program.steps[0].op == "gather" else nullcontext
    _run_job(Job(1, work, 1, around), progress, cancel)


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
        _run_job(Job(1, work, 1), progress, cancel)


def _run_job(job: Job, progress: object, cancel: CancelToken | None) -> None:
    run = start_run(job.tasks, progress)
    recorder = RECORDER.get()
    try:
        with job.around():
            if recorder is None:
                run_tasks(job.tasks, job.work, threads=job.threads, run=run, cancel=cancel)
            else:
                with recorder.stage(job.tasks, job.threads):
                    work = recorder.task(job.work)
                    run_tasks(job.tasks, work, threads=job.threads, run=run, cancel=cancel)
    finally:
        run.stop()
    count("tasks", job.tasks)
