"""Running numbered tasks in threads.

No queue and no future: every worker takes the next number from one counter until there are none,
the caller being worker 0. The others are threads that wait for the next run (``exec.crew``), and
work for one run at a time; a run of one task, or of one thread, has none. One that has not begun
when all tasks are taken is not waited for. The first error (or Ctrl-C, which Python raises in the
caller, that is in worker 0) stops all workers before their next task and is raised once they have
stopped. Of several errors Ctrl-C is raised, else that of the task with the lowest number, so that
the same plan fails the same way whichever thread was faster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from typing import NamedTuple

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.cancelling import cancelled, is_cancellation
from lazytensor.exec.crew import Errand, send
from lazytensor.exec.events import Run
from lazytensor.plan.stopping import STOPPED

__all__ = ["CancelToken", "Job", "run_tasks"]


class Job(NamedTuple):
    """Tasks, and how many of them may run at once, in what ``around`` makes."""

    tasks: int
    work: Callable[[int, Scratch], None]
    threads: int
    around: Callable[[], AbstractContextManager[None]] = nullcontext


class CancelToken:
    """Asks a run to stop before its next task."""

    __slots__ = ("cancelled",)

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        """Ask."""
        self.cancelled = True


class _Crew:
    """What the workers of one run share."""

    def __init__(
        self,
        count: int,
        work: Callable[[int, Scratch], None],
        run: Run,
        cancel: CancelToken | None,
    ) -> None:
        self._count = count
        self._work = work
        self._run = run
        self._cancel = cancel
        self._next = 0
        self._lock = threading.Lock()
        self.stopped = False
        self.interrupted = False
        self.errors: list[tuple[int, BaseException]] = []

    def fail(self, number: int, error: BaseException) -> None:
        """Keep an error for the caller and let nobody start another task."""
        self.stopped = True
        # Only then does who waits for a server stop waiting: an ordinary error lets running tasks
        # end, so that it is the one of the lowest number that is raised.
        self.interrupted = self.interrupted or not isinstance(error, Exception)
        self.errors.append((number if isinstance(error, Exception) else -1, error))

    def helper(self) -> None:
        """What a thread other than the caller does, in a context of its own."""
        outer = STOPPED.get()
        STOPPED.set(lambda: self.interrupted or (outer is not None and outer()))
        self.worker()

    def worker(self) -> None:
        scratch = Scratch()
        number = -1
        try:
            while True:
                with self._lock:
                    number = self._next
                    if number >= self._count or self.stopped:
                        return
                    self._next += 1
                if self._cancel is not None and self._cancel.cancelled:
                    raise cancelled()
                self._work(number, scratch)
                with self._lock:
                    self._run.advance()
        except BaseException as error:  # noqa: BLE001
            # Kept, not swallowed: run_tasks raises it in the caller when all have stopped.
            self.fail(number, error)


def run_tasks(
    count: int,
    work: Callable[[int, Scratch], None],
    *,
    threads: int,
    run: Run,
    cancel: CancelToken | None = None,
) -> None:
    """Do ``work(number, scratch)`` for every number below ``count``."""
    if cancel is None:
        _run_all(count, work, threads, run, cancel)
        return
    with _heeding(cancel):
        _run_all(count, work, threads, run, cancel)


@contextmanager
def _heeding(cancel: CancelToken) -> Iterator[None]:
    """Lets what waits for a server, here or in a helper, see that the run was cancelled."""
    outer = STOPPED.get()
    before = STOPPED.set(lambda: cancel.cancelled or (outer is not None and outer()))
    try:
        yield
    except Exception as error:
        if cancel.cancelled and is_cancellation(error):
            raise cancelled() from error
        raise
    finally:
        STOPPED.reset(before)


def _run_all(
    count: int,
    work: Callable[[int, Scratch], None],
    threads: int,
    run: Run,
    cancel: CancelToken | None,
) -> None:
    if min(threads, count) <= 1:
        _run_alone(count, work, run, cancel)
        return
    crew = _Crew(count, work, run, cancel)
    errands = [
        Errand(partial(copy_context().run, crew.helper)) for _ in range(1, min(threads, count))
    ]
    try:
        try:
            _send(errands)
            crew.worker()
        except BaseException as error:  # noqa: BLE001
            # Ctrl-C may strike between two lines of ours as well.
            crew.fail(-1, error)
        for errand in errands:
            _await(errand, crew)
    finally:
        # And here: whatever happens, no helper goes on to another task.
        crew.stopped = True
    if crew.errors:
        raise min(crew.errors, key=lambda entry: entry[0])[1]


def _run_alone(
    count: int, work: Callable[[int, Scratch], None], run: Run, cancel: CancelToken | None
) -> None:
    """The caller does all tasks: nobody to tell of an error, so it is simply raised."""
    scratch = Scratch()
    for number in range(count):
        if cancel is not None and cancel.cancelled:
            raise cancelled()
        work(number, scratch)
        run.advance()


def _send(errands: list[Errand]) -> None:
    for errand in errands:
        try:
            send(errand)
        except RuntimeError:
            # No more threads here: those that run, the caller among them, do all the tasks.
            return


def _await(errand: Errand, crew: _Crew) -> None:
    """Wait for a worker; Ctrl-C while waiting stops the others too, and is raised afterwards."""
    while True:
        try:
            errand.wait()
        except KeyboardInterrupt as error:
            crew.fail(-1, error)
        else:
            return
