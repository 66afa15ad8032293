"""An iterator whose items another thread makes ahead of time, portion by portion.

The thread may not outlive what it works for. It knows the iterator's questions and answers, never
the iterator: when that is deleted, or closed, or the interpreter ends, the thread is told so, stops
what it is reading and goes. A forked child has the iterator but not the thread; it begins another
where it is. All that the two sides share are queues that may be put into from anywhere, a collector
of garbage or a signal handler included.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

from lazytensor.exec.crew import Errand, send
from lazytensor.exec.pool import CancelToken
from lazytensor.plan.one_at_a_time import OneAtATime
from lazytensor.plan.stopping import STOPPED

__all__ = ["Portion", "ReadAhead"]


class Portion(NamedTuple):
    """Items that were made together, and the error in the place of the next one, if there is one
    (none follow)."""

    items: Iterable[Any]
    error: BaseException | None = None


Make = Callable[[int, CancelToken], Portion]


class _Here(NamedTuple):
    """Where an iterator is: the next portion, items that were made before it, and what is raised
    behind those. Replaced as a whole: a fork at any time leaves the child with one that holds."""

    portion: int
    items: deque[Any]
    error: BaseException | None = None


class ReadAhead(Iterator[Any]):
    """The items of portions ``0 .. portions - 1``, each made by ``make(number, cancel)``.

    ``prefetch``: portions that are made ahead, by one thread; 0: each is made when its first item
    is asked for. They are made in a copy of the context in which the iterator is. ``items``: how
    many there are. ``blame``: is called with an error before it is raised.

    >>> squares = ReadAhead(lambda n, cancel: Portion([n * n]), 3, items=3)
    >>> list(squares), next(squares, "no more")
    ([0, 1, 4], 'no more')
    """

    def __init__(
        self,
        make: Make,
        portions: int,
        *,
        items: int,
        prefetch: int = 2,
        blame: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._make = make
        self._portions = portions
        self._prefetch = prefetch
        self._blame = blame
        self._context = copy_context()
        self._turns = OneAtATime()
        self._here = _Here(0, deque())
        self._left = items
        self._closed = False
        self._feed: _Feed | None = None
        self._cancel = CancelToken()

    def __next__(self) -> Any:
        with self._turns:
            while not self._here.items:
                error = self._here.error
                if self._closed or (error is None and self._here.portion == self._portions):
                    raise StopIteration
                if error is not None:
                    self._fail(error)
                self._take()
            self._left -= 1
            return self._here.items.popleft()

    def __length_hint__(self) -> int:
        return 0 if self._closed else self._left

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """No more items. Returns when the thread has ended, so that files may be removed."""
        self._stop()
        feed = self._feed
        if feed is not None and feed.pid == os.getpid():
            feed.errand.wait()

    def _stop(self) -> None:
        self._closed = True
        self._here.items.clear()
        self._cancel.cancel()
        if self._feed is not None:
            self._feed.stop()

    def _fail(self, error: BaseException) -> None:
        self._stop()
        self._here = _Here(self._portions, deque())
        if self._blame is not None:
            self._blame(error)
        raise error

    def _take(self) -> None:
        """The next portion."""
        try:
            portion = self._answer()
        except BaseException:
            # Ctrl-C while waiting, or reading here.
            self._stop()
            raise
        if portion is not None:
            items = deque(portion.items)
            self._here = _Here(self._here.portion + 1, items, portion.error)

    def _answer(self) -> Portion | None:
        if not self._prefetch:
            try:
                # A copy, since a child may have been forked while the context was in use.
                run = self._context.copy().run
                return run(self._make, self._here.portion, self._cancel)
            except Exception as error:  # noqa: BLE001
                return Portion((), error)  # raised where the items would have come
        feed = self._feed
        if feed is None or feed.pid != os.getpid():
            feed = _Feed(self._make, self._here.portion, self._portions)
            try:
                feed.start(self._context.copy().run, self._prefetch)
            except RuntimeError:
                # No more threads here: each portion is made when it is wanted.
                self._prefetch = 0
                return self._answer()
            self._feed = feed
            weakref.finalize(self, feed.stop)
        return feed.take()


class _Feed:
    """What the thread works on, from portion ``first`` on."""

    def __init__(self, make: Make, first: int, portions: int) -> None:
        self._make = make
        self._numbers = range(first, portions)
        self._cancel = CancelToken()
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[Portion | None] = SimpleQueue()
        self.errand = Errand(lambda: None)
        self.pid = os.getpid()

    def start(self, run: Callable[[Callable[[], None]], None], prefetch: int) -> None:
        """Begin; ``RuntimeError`` where no thread can be started."""
        self.errand = Errand(partial(run, self._work))
        for _ in range(prefetch):
            self._asked.put(True)
        send(self.errand)

    def take(self) -> Portion | None:
        """The next portion, and ask for another; None when stopped."""
        portion = self._answers.get()
        self._asked.put(True)
        return portion

    def stop(self) -> None:
        """Have the thread end soon, and wake who waits for it. Never waits itself."""
        self._cancel.cancel()
        self._asked.put(False)
        self._answers.put(None)

    def _work(self) -> None:
        STOPPED.set(lambda: self._cancel.cancelled)
        for number in self._numbers:
            if not self._asked.get() or self._cancel.cancelled:
                return
            portion = self._portion(number)
            self._answers.put(portion)
            if portion.error is not None:
                return
            del portion

    def _portion(self, number: int) -> Portion:
        try:
            return self._make(number, self._cancel)
        except BaseException as error:  # noqa: BLE001
            # Kept, not swallowed: it is raised where the items would have come.
            return Portion((), error)
