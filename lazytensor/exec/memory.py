"""How much memory and how many threads a run may use, and keeping to it.

What a task holds is known before it starts. A run that could not even do one task within its limit
is refused before anything is read; beyond that every task waits until what it needs is free.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from lazytensor.config import option
from lazytensor.errors import MemoryLimitError
from lazytensor.exec.recording import waiting
from lazytensor.plan.cost import format_bytes
from lazytensor.plan.limits import available_memory, memory_limit

__all__ = [
    "SPARE", "WAITING", "Budget", "Spare", "TaskOf", "available_memory", "memory_limit", "sparing",
    "thread_count",
]  # fmt: skip

WAITING = 16
"""Worker threads that suffice to keep a network busy, each asking for some megabytes at once."""


def thread_count(threads: int | None = None, *, remote: bool = False) -> int:
    """Worker threads: the argument, the option ``threads``, else the CPUs this process may use.

    Threads that read what is ``remote`` mostly wait, so that by default there are some more.
    """
    asked = option("threads") if threads is None else threads
    if asked is not None:
        return int(asked)
    return max(_cpus(), WAITING) if remote else _cpus()


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


class TaskOf(NamedTuple):
    """Names, in an error, the plan that a task computes a block of."""

    node: object

    def __str__(self) -> str:
        return f"one task of {self.node!r}"


class Budget:
    """The bytes that the tasks of a run may hold together.

    ``limit``: how many. ``kept`` of them are taken for good, by results of earlier stages.

    >>> budget = Budget(100, kept=30)
    >>> with budget.holding(70, "a task"):
    ...     budget.free
    0
    >>> budget.check(71, "a task")
    Traceback (most recent call last):
    lazytensor.errors.MemoryLimitError: a task needs 71 B beside 30 B of intermediate results, ...
    """

    def __init__(self, limit: int, kept: int = 0) -> None:
        self.limit = limit
        self.kept = kept
        self.free = limit - kept
        self._returned = threading.Condition()

    def check(self, nbytes: int, what: object) -> None:
        """Raise ``MemoryLimitError`` if ``nbytes`` do not fit even when nothing else is held.

        ``what`` needs them; it is put into words only for the error.
        """
        if nbytes + self.kept <= self.limit:
            return
        kept = f" beside {format_bytes(self.kept)} of intermediate results" if self.kept else ""
        raise MemoryLimitError(
            f"{what} needs {format_bytes(nbytes)}{kept}, the limit is {format_bytes(self.limit)}; "
            f"raise max_memory, or rechunk the input into smaller cells"
        )

    @contextmanager
    def holding(self, nbytes: int, what: object) -> Iterator[None]:
        """Wait until ``nbytes`` are free and take them for the block."""
        self.check(nbytes, what)
        with self._returned:
            if nbytes > self.free:
                with waiting():
                    while nbytes > self.free:
                        self._returned.wait()
            self.free -= nbytes
        try:
            yield
        finally:
            with self._returned:
                self.free += nbytes
                self._returned.notify_all()


class Spare:
    """The bytes that tasks leave, for what may be fetched before it is needed.

    Who takes some never waits for more of it while he holds any: what cannot be had is done
    without. Beside bytes there are so many places for those who fetch.

    >>> spare = Spare(100)
    >>> spare.take(70), spare.take(70), spare.give(70), spare.take(70)
    (True, False, None, True)
    """

    __slots__ = ("_free", "_lock", "_places", "nbytes")

    def __init__(self, nbytes: int) -> None:
        self.nbytes = self._free = nbytes
        self._places = WAITING
        self._lock = threading.Lock()

    def take(self, nbytes: int, places: int = 1) -> bool:
        """Take so many bytes and places, if they are free."""
        with self._lock:
            if nbytes > self._free or places > self._places:
                return False
            self._free -= nbytes
            self._places -= places
            return True

    def give(self, nbytes: int) -> None:
        """Give bytes and a place back."""
        with self._lock:
            self._free += nbytes
            self._places += 1


SPARE: ContextVar[Spare | None] = ContextVar("lazytensor_spare", default=None)
"""What the run of this context has to spare; None: nothing."""


@contextmanager
def sparing(spare: Spare) -> Iterator[None]:
    """Let the tasks of a run use what they leave together."""
    token = SPARE.set(spare)
    try:
        yield
    finally:
        SPARE.reset(token)
