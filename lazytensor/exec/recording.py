"""Where the time of a run goes: rows that engines add to while they run, if anybody asked.

A recorder travels in a context variable, into the threads of a run too. Each thread adds to a table
of its own, so that recording takes no lock; without a recorder, a program costs one look at the
variable. Rows are kept by stage and operation: the same step of a thousand tasks is one row.

What is measured is the time of the steps as they run. A read is split in two by its driver
(``plan.clock``): what is not decoding is reading, the time to find, ask for and wait for bytes
included. What a task takes beside its steps (making its program, giving memory back) and what
threads wait stands in a row of its own, ``SCHEDULING``, so that the rows of a stage add up to the
time of its threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from time import perf_counter_ns
from typing import Any, NamedTuple, cast

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.physical import READS, Step
from lazytensor.plan.clock import DECODING, Clock
from lazytensor.plan.counters import of_this_thread
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan

__all__ = [
    "RECORDER",
    "SCHEDULING",
    "Part",
    "Recorder",
    "Tally",
    "crew_of_run",
    "step_of_run",
    "waiting",
]

SCHEDULING = "scheduling"
"""The row of what is no step: planning tasks, and waiting."""

_FUNCTIONS = frozenset({"call", "inspect"})
"""Steps whose first argument is a function of the user's."""

_COUNTED = ("bytes_read", "bytes_decoded", "cache_hits")


class Part(NamedTuple):
    """What a task does for a node beside the steps of its program, such as ``"merge"``."""

    node: Node
    name: str


What = Step | Node | Part | str
Work = Callable[[int, Scratch], None]


class Tally:
    """One row: an operation of a stage. Times are nanoseconds, added up over threads."""

    __slots__ = ("bytes_decoded", "bytes_read", "cache_hits", "decode", "kernel", "last_task",
                 "read", "stage", "tasks", "wait", "what")  # fmt: skip

    def __init__(self, stage: int, what: What) -> None:
        self.stage = stage
        self.what = what
        self.tasks = 0
        self.last_task = -1
        self.read = self.decode = self.kernel = self.wait = 0
        self.bytes_read = self.bytes_decoded = self.cache_hits = 0

    def add(self, other: Tally) -> None:
        """Take over what another thread recorded."""
        for name in (*_COUNTED, "tasks", "read", "decode", "kernel", "wait"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class _Mine:
    """What one thread recorded. ``inside``: time of its task that has a row already."""

    __slots__ = ("busy", "inside", "rows", "task")

    def __init__(self) -> None:
        self.rows: dict[Hashable, Tally] = {}
        self.task: int | None = None
        self.inside = 0
        self.busy = 0


class Recorder:
    """The rows of one run."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._threads: list[_Mine] = []
        self._stage = 0
        self.wall = 0
        """Nanoseconds from the beginning to the end of the run."""

    def rows(self) -> list[Tally]:
        """All rows, by stage, in the order in which operations first ran, ``SCHEDULING`` last."""
        merged: dict[Hashable, Tally] = {}
        for mine in self._threads:
            for key, row in mine.rows.items():
                merged.setdefault(key, Tally(row.stage, row.what)).add(row)
        return sorted(merged.values(), key=lambda row: (row.stage, row.what == SCHEDULING))

    @contextmanager
    def stage(self, tasks: int, threads: int) -> Iterator[None]:
        """A stage of so many tasks, run by so many threads."""
        self._stage += 1
        self._scheduling()
        begin, busy = perf_counter_ns(), self._busy()
        try:
            yield
        finally:
            there = (perf_counter_ns() - begin) * min(threads, tasks)
            self._scheduling().wait += max(0, there - (self._busy() - busy))

    def task(self, work: Work) -> Work:
        """``work`` with every task measured."""

        def measured(number: int, scratch: Scratch) -> None:
            with self._task(number):
                work(number, scratch)

        return measured

    @contextmanager
    def whole(self) -> Iterator[None]:
        """A plan that is computed whole: a stage of one task."""
        with self.stage(1, 1), self._task(0):
            yield

    @contextmanager
    def _task(self, number: int) -> Iterator[None]:
        mine = self._mine()
        mine.task, mine.inside = number, 0
        begin = perf_counter_ns()
        try:
            yield
        finally:
            elapsed = perf_counter_ns() - begin
            mine.task = None
            mine.busy += elapsed
            row = self._scheduling()
            row.tasks += 1
            row.kernel += elapsed - mine.inside

    @contextmanager
    def crew(self, threads: int) -> Iterator[None]:
        """A part of a task that several threads work on: what they do not work, they wait."""
        mine = self._mine()
        begin, before, own = perf_counter_ns(), self._inside(), mine.inside
        try:
            yield
        finally:
            elapsed = perf_counter_ns() - begin
            self._scheduling().wait += max(0, elapsed * threads - (self._inside() - before))
            mine.inside = own + elapsed

    def step(self, step: Step, *, ahead: bool = False) -> AbstractContextManager[None]:
        """One step of a program of this stage; of the next one, if it is ``ahead``."""
        stage = self._stage + ahead
        args = step.args
        name: Hashable = None
        if step.op in READS:
            name = id(args[0])
        elif args:
            name = id(args[0]) if step.op in _FUNCTIONS else _name(args)
        row = self._row((stage, step.op, name, step.dtype), step, stage)
        return _Read(self._mine(), row) if step.op in READS else _Kernel(self._mine(), row)

    def line(self, read: Step, *takers: Step | Part) -> AbstractContextManager[None]:
        """A read whose values are taken piece by piece (``exec.through``).

        ``takers``: the steps that are done meanwhile, or what a pass does; each has its row, and
        the first one has the time of all.
        """
        reading: Any = self.step(read)
        watches: list[Any] = [
            self.step(taker) if isinstance(taker, Step) else self.part(taker) for taker in takers
        ]
        reading.taker = watches[0].row
        return cast("AbstractContextManager[None]", reading)

    def node(self, node: Node) -> AbstractContextManager[None]:
        """One node, computed whole."""
        row = self._row((self._stage, node), node)
        reads = isinstance(node, Scan)
        return _Read(self._mine(), row) if reads else _Kernel(self._mine(), row)

    def member(self, member: Any, node: Node) -> Any:
        """A member of a pass over blocks (``exec.passes``) with what it does measured."""
        return _Member(self, member, node)

    def part(self, part: Part) -> AbstractContextManager[None]:
        """What a pass does with a block or a state."""
        return _Kernel(self._mine(), self._row((self._stage, part), part))

    def waiting(self) -> AbstractContextManager[None]:
        """Time in which a task may not go on."""
        return _Wait(self._mine(), self._scheduling())

    def _mine(self) -> _Mine:
        try:
            mine: _Mine = self._local.mine
        except AttributeError:
            mine = self._local.mine = _Mine()
            # Appending is atomic; threads only ever add.
            self._threads.append(mine)
        return mine

    def _row(self, key: Hashable, what: What, stage: int | None = None) -> Tally:
        mine = self._mine()
        row = mine.rows.get(key)
        if row is None:
            row = mine.rows[key] = Tally(self._stage if stage is None else stage, what)
        # A thread that only helps with a task of another one has none of its own.
        if mine.task is not None and row.last_task != mine.task:
            row.last_task = mine.task
            row.tasks += 1
        return row

    def _scheduling(self) -> Tally:
        mine = self._mine()
        key = (self._stage, SCHEDULING)
        row = mine.rows.get(key)
        if row is None:
            row = mine.rows[key] = Tally(self._stage, SCHEDULING)
        return row

    def _busy(self) -> int:
        return sum(mine.busy for mine in self._threads)

    def _inside(self) -> int:
        return sum(mine.inside for mine in self._threads)


class _Member:
    """A member of a pass whose work is measured; all else is the member's own."""

    def __init__(self, recorder: Recorder, member: Any, node: Node) -> None:
        self._recorder, self._member, self._node = recorder, member, node

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._member, name)
        if name not in _MEASURED:
            return found

        def measured(*args: Any) -> Any:
            with self._recorder.part(Part(self._node, name)):
                return found(*args)

        return measured


_MEASURED = frozenset({"partial", "merge", "write", "repeated"})
"""Methods of members that work on blocks and states."""


def _name(args: tuple[Any, ...]) -> Hashable:
    """What tells operations of one kind apart, and does not change from task to task."""
    return next((value for value in args if isinstance(value, str)), None)


class _Kernel:
    """Measures a step that computes."""

    __slots__ = ("_begin", "_mine", "row")

    def __init__(self, mine: _Mine, row: Tally) -> None:
        self._mine, self.row = mine, row
        self._begin = perf_counter_ns()

    def __enter__(self) -> None:
        self._begin = perf_counter_ns()

    def __exit__(self, *exc_info: object) -> None:
        elapsed = perf_counter_ns() - self._begin
        self.row.kernel += elapsed
        self._mine.inside += elapsed


class _Wait(_Kernel):
    """Measures waiting."""

    __slots__ = ()

    def __exit__(self, *exc_info: object) -> None:
        elapsed = perf_counter_ns() - self._begin
        self.row.wait += elapsed
        self._mine.inside += elapsed


class _Read(_Kernel):
    """Measures a step that reads, and takes over what its driver counts meanwhile.

    ``taker``: the row of what is done with the values while they are decoded, if something is.
    """

    __slots__ = ("_before", "_clock", "_counts", "_token", "taker")

    def __init__(self, mine: _Mine, row: Tally) -> None:
        super().__init__(mine, row)
        self.taker: Tally | None = None

    def __enter__(self) -> None:
        self._counts = of_this_thread()
        self._before = [self._counts[name] for name in _COUNTED]
        self._clock = Clock()
        self._token = DECODING.set(self._clock)
        self._begin = perf_counter_ns()

    def __exit__(self, *exc_info: object) -> None:
        elapsed = perf_counter_ns() - self._begin
        DECODING.reset(self._token)
        row, decoded = self.row, min(self._clock.ns, elapsed)
        row.read += elapsed - decoded
        if self.taker is not None:
            taken = min(self._clock.consumed, decoded)
            self.taker.kernel += taken
            decoded -= taken
        row.decode += decoded
        for name, before in zip(_COUNTED, self._before, strict=True):
            setattr(row, name, getattr(row, name) + self._counts[name] - before)
        self._mine.inside += elapsed


RECORDER: ContextVar[Recorder | None] = ContextVar("lazytensor_recorder", default=None)
"""Who records the run of this context; None as a rule."""

_UNWATCHED: AbstractContextManager[None] = nullcontext()


def step_of_run(step: Step, *, ahead: bool = False) -> AbstractContextManager[None]:
    """Record, if anybody does, a step that is run on its own, or ``ahead`` of its stage."""
    recorder = RECORDER.get()
    return _UNWATCHED if recorder is None else recorder.step(step, ahead=ahead)


def crew_of_run(threads: int) -> AbstractContextManager[None]:
    """Record, if anybody does, that several threads work on one task."""
    recorder = RECORDER.get()
    return _UNWATCHED if recorder is None else recorder.crew(threads)


def waiting() -> AbstractContextManager[None]:
    """Record, if anybody does, that a task waits."""
    recorder = RECORDER.get()
    return _UNWATCHED if recorder is None else recorder.waiting()
