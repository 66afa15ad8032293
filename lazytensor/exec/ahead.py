"""Fetching what tasks will read while others compute.

Whoever reads over a network waits, and a thread that computes should not. So helpers that do
nothing but wait fetch what the coming tasks will ask for, in the order of the tasks, as far as
memory that running tasks leave goes (``exec.memory.Spare``). A task that comes before its bytes are
asked for reads for itself, and nothing is asked for twice; one whose bytes are on their way waits
for them. Results do not depend on any of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple, TypeVar

from lazytensor.exec.cancelling import cancelled
from lazytensor.exec.crew import Errand, send
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.memory import SPARE, WAITING, Budget, Spare
from lazytensor.exec.physical import Program
from lazytensor.exec.recording import waiting
from lazytensor.plan.source import Box, Read, Source
from lazytensor.plan.stopping import STOPPED, is_stopped

__all__ = ["Ahead", "Blocks", "Unit", "each_at_hand", "fetches", "unit_of"]

_T = TypeVar("_T")

_READS = frozenset({"read", "read_placed", "read_strided"})

_PORTION = 8 << 20
"""Bytes that are fetched together if they are wanted one after the other: about those of a block.
More at a time would come too late, and less leave one thread after the other to ask."""

_POLL = 0.05
"""Seconds between two looks at whether the run was stopped, or others gave memory back."""

_Answers = list[AbstractContextManager[object]]


class Unit(NamedTuple):
    """What one task reads of sources that fetch ahead, ``nbytes`` at most: for each of them, what
    it is asked for. ``key`` is its name, ``payload`` what else the task is given."""

    key: Hashable
    nbytes: int
    wanted: Sequence[tuple[Any, Sequence[Read]]]
    payload: Any = None


class _Group:
    """Units that are fetched together, what came of that (None: not yet), and how many of them
    have not been let go of."""

    __slots__ = ("found", "left", "nbytes", "units")

    def __init__(self) -> None:
        self.units: dict[Hashable, Unit] = {}
        self.nbytes = 0
        self.left = 0
        self.found: _Answers | BaseException | None = None

    def add(self, unit: Unit) -> None:
        self.units[unit.key] = unit
        self.nbytes += unit.nbytes
        self.left += 1


class Ahead:
    """Fetches what units read, in order, as long as the block lasts.

    ``waits``: what to enter while a task waits for its bytes.

    >>> with Ahead(iter([Unit("a", 1000, [])]), Spare(100)) as ahead, ahead.at_hand("a") as unit:
    ...     unit is None
    True
    """

    def __init__(
        self,
        units: Iterator[Unit],
        spare: Spare,
        waits: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._units = units
        self._spare = spare
        self._waits = waits
        # Whose turn it is to look at the next units; one of them may have to wait for another turn.
        self._head = threading.Lock()
        self._seen: Unit | None = None
        # It guards what follows: the groups of units whose bytes were asked for, and the names of
        # those that tasks read for themselves.
        self._changed = threading.Condition()
        self._claimed: dict[Hashable, _Group] = {}
        self._left_out: set[Hashable] = set()
        self._errands: list[Errand] = []
        self._ended = self._closed = False
        self._outer: Callable[[], bool] | None = None

    def __enter__(self) -> Ahead:
        self._outer = STOPPED.get()
        self._send_another()
        return self

    def __exit__(self, *exc: object) -> None:
        """Drop what is under way, and wait until nobody fetches any more."""
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                self._close()
                for errand in list(self._errands):
                    errand.wait()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        for group in {id(group): group for group in self._claimed.values()}.values():
            self._spare.give(group.nbytes)
        self._claimed.clear()
        if interrupt is not None:
            raise interrupt

    @contextmanager
    def at_hand(self, key: Hashable) -> Iterator[Unit | None]:
        """The unit of this name, with its bytes at hand in the block; None where nobody has asked
        for them, and whoever needs them reads them as ever."""
        group = self._await(key)
        if group is None:
            yield None
            return
        try:
            if isinstance(group.found, BaseException):
                raise group.found
            with ExitStack() as stack:
                for answer in group.found or ():
                    stack.enter_context(answer)
                yield group.units[key]
        finally:
            self._let_go(key)

    def _await(self, key: Hashable) -> _Group | None:
        with self._changed:
            group = self._claimed.get(key)
            if group is None:
                if not self._ended:
                    self._left_out.add(key)
                    self._changed.notify_all()
            elif group.found is None:
                with self._waits():
                    while group.found is None:
                        if is_stopped():
                            raise cancelled()
                        self._changed.wait(_POLL)
            return group

    def _let_go(self, key: Hashable) -> None:
        with self._changed:
            group = self._claimed.pop(key)
            group.left -= 1
            if not group.left:
                group.found = None
                self._spare.give(group.nbytes)
                self._changed.notify_all()

    def _close(self) -> None:
        with self._changed:
            self._ended = self._closed = True
            self._changed.notify_all()

    def _is_stopped(self) -> bool:
        return self._closed or (self._outer is not None and self._outer())

    def _send_another(self) -> None:
        """One more helper, if there can be one."""
        errand = Errand(partial(copy_context().run, self._help))
        with self._changed:
            if self._ended or len(self._errands) == WAITING:
                return
            self._errands.append(errand)
        try:
            send(errand)
        except RuntimeError:
            # No more threads here: tasks read for themselves what nobody fetches.
            self._errands.remove(errand)

    def _help(self) -> None:
        """Fetch until nothing is left."""
        STOPPED.set(self._is_stopped)
        while (group := self._next_group()).units:
            self._send_another()
            found: _Answers | BaseException
            try:
                found = _fetch(list(group.units.values()))
            except BaseException as error:  # noqa: BLE001
                # Kept, not swallowed: the tasks that need the units raise it.
                found = error
            with self._changed:
                group.found = found
                self._changed.notify_all()
            del group, found

    def _next_group(self) -> _Group:
        """The next units that nobody has read yet, once there is memory for the first."""
        group = _Group()
        with self._head:
            while not self._ended:
                unit, self._seen = self._seen or self._next_unit(), None
                if unit is None:
                    self._end()
                    break
                full = group.units and group.nbytes + unit.nbytes > _PORTION
                if full or not self._claim(unit, group):
                    self._seen = unit
                    break
        return group

    def _next_unit(self) -> Unit | None:
        try:
            return next(self._units, None)
        except Exception:  # noqa: BLE001
            # The task that needs it will meet the same, and say so.
            return None

    def _end(self) -> None:
        """Claim no more."""
        with self._changed:
            self._ended = True
            self._left_out.clear()

    def _claim(self, unit: Unit, group: _Group) -> bool:
        """Have a unit in a group, unless a task has read it; False: there is no memory for it.

        The first one of a group waits for memory, and takes a place with it.
        """
        if unit.nbytes > self._spare.nbytes:
            self._end()
            return True
        with self._changed:
            while not self._ended:
                if unit.key in self._left_out:
                    self._left_out.discard(unit.key)
                    return True
                if self._spare.take(unit.nbytes, places=not group.units):
                    self._claimed[unit.key] = group
                    group.add(unit)
                    return True
                if group.units:
                    return False
                self._changed.wait(_POLL)
        return True


def _fetch(units: Sequence[Unit]) -> _Answers:
    """Fetch what units read, of each source all of it together."""
    wanted: dict[Hashable, tuple[Any, list[Read]]] = {}
    for unit in units:
        for source, reads in unit.wanted:
            wanted.setdefault(source.key, (source, []))[1].extend(reads)
    answers = [source.fetch_ahead(reads) for source, reads in wanted.values()]
    return [answer for answer in answers if answer is not None]


class Blocks:
    """The programs of blocks of a plan, each lent when there is memory for it.

    ``beside``: bytes that whoever borrows the program of a block needs beside those.
    """

    def __init__(
        self,
        compiled: Compiled,
        budget: Budget,
        name: object,
        beside: Callable[[Box], int] | None = None,
    ) -> None:
        self._compiled = compiled
        self._budget = budget
        self._name = name
        self._beside = beside
        self._ahead: Ahead | None = None
        self._spare: Spare | None = None

    @contextmanager
    def fetching(self, boxes: Iterable[Box], spare: Spare) -> Iterator[None]:
        """In the block, fetch what blocks read before they are computed, in this order."""
        units = (unit_of(lower(self._compiled, box)) for box in boxes)
        self._spare = spare
        with Ahead(units, spare, waiting) as self._ahead:
            try:
                yield
            finally:
                self._ahead = self._spare = None

    @contextmanager
    def lent(self, box: Box) -> Iterator[Program]:
        """The program of a block, its memory and what was fetched for it, for the block."""
        if self._ahead is None or self._spare is None:
            program = lower(self._compiled, box)
            with self._budget.holding(self._nbytes(program), self._name):
                yield program
            return
        with self._ahead.at_hand(box) as unit:
            program = lower(self._compiled, box) if unit is None else unit.payload
            late = unit_of(program) if unit is None else None
            with (
                self._budget.holding(self._nbytes(program), self._name),
                _now(late, self._spare),
            ):
                yield program

    def _nbytes(self, program: Program) -> int:
        beside = 0 if self._beside is None else self._beside(program.box)
        return program.nbytes + beside


def each_at_hand(
    source: Source, items: Callable[[], Iterable[_T]], box_of: Callable[[_T], Box]
) -> Generator[_T, None, None]:
    """The items, each of which reads a box of a source, in some order; ``items()`` lists them,
    whenever it is called.

    What some of them read is fetched together, and meanwhile what the next ones read, where that is
    worth while. It is at hand for whoever asks for the items, until they ask for the next one.
    """
    spare = SPARE.get()
    if spare is None or not fetches(source):
        yield from items()
        return
    listed = partial(_listed, source, items, box_of)
    most = min(_PORTION, spare.nbytes // 2)
    units = (unit for unit, _ in _portions(source, listed(), box_of, most))
    with Ahead(units, spare) as ahead:
        for unit, some in _portions(source, listed(), box_of, most):
            with ahead.at_hand(unit.key) as found, _now(unit if found is None else None, spare):
                yield from some


def _listed(
    source: Source, items: Callable[[], Iterable[_T]], box_of: Callable[[_T], Box]
) -> Iterable[_T]:
    """The items, those that read the same stored object next to each other."""
    spec = source.spec
    if all(cells is None or cells.together == 1 for cells in spec.grid):
        return items()

    def stored_object(item: _T) -> list[int]:
        return [
            0 if cells is None else cells.stored_cell(lo - first) // cells.together
            for cells, (lo, _), first in zip(
                spec.grid, box_of(item), spec.domain.inclusive_min, strict=True
            )
        ]

    return sorted(items(), key=stored_object)


def _portions(
    source: Any, items: Iterable[_T], box_of: Callable[[_T], Box], most: int
) -> Iterator[tuple[Unit, list[_T]]]:
    """Items that read up to ``most`` bytes together, with what that is; numbered."""
    ones = (1,) * source.spec.ndim
    some: list[_T] = []
    reads: list[Read] = []
    total = number = 0
    for item in items:
        read = box_of(item), ones
        nbytes = source.ahead_nbytes([read])
        if some and total + nbytes > most:
            yield Unit(number, total, [(source, reads)]), some
            number, some, reads, total = number + 1, [], [], 0
        some.append(item)
        reads.append(read)
        total += nbytes
    if some:
        yield Unit(number, total, [(source, reads)]), some


@contextmanager
def _now(unit: Unit | None, spare: Spare) -> Iterator[None]:
    """Have a unit at hand that nobody fetched, if it is several reads and there is memory."""
    reads = 0 if unit is None else sum([len(reads) for _, reads in unit.wanted])
    if unit is None or reads < 2 or not spare.take(unit.nbytes):
        yield
        return
    try:
        with ExitStack() as stack:
            for answer in _fetch([unit]):
                stack.enter_context(answer)
            yield
    finally:
        spare.give(unit.nbytes)


def fetches(source: Any) -> bool:
    """Whether a source is one that mostly waits, and can do so before it is read."""
    return getattr(source, "remote", False) and hasattr(source, "fetch_ahead")


def unit_of(program: Program) -> Unit:
    """What a program reads of sources that fetch ahead."""
    wanted: dict[Hashable, tuple[Any, list[Read]]] = {}
    for step in program.steps:
        if step.op in _READS and 0 not in step.shape and fetches(step.args[0]):
            source, box = step.args[:2]
            steps = step.args[4] if step.op == "read_strided" else (1,) * len(box)
            wanted.setdefault(source.key, (source, []))[1].append((box, steps))
    asked = list(wanted.values())
    nbytes = sum([source.ahead_nbytes(reads) for source, reads in asked])
    return Unit(program.box, nbytes, asked, program)
