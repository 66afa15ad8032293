"""From the threads that read into the event loop that talks: waiting, limits, many at once.

fsspec runs the asynchronous file systems of a process on one loop in one thread, and a fork makes
the next one. Everything here lives on that loop and needs no lock: a limit on the requests under
way is a number that only the loop's thread touches, and a child starts with a loop, hence a limit,
of its own.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from concurrent.futures import CancelledError, wait
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from lazytensor.plan.stopping import is_stopped

__all__ = ["Gate", "Shared", "gate_of", "run_on", "together"]

_T = TypeVar("_T")
_POLL = 0.05
"""Seconds between two looks at whether the run was stopped meanwhile."""


class Gate:
    """Lets so many through at a time, in the order they came.

    The limit is the caller's, since it is an option that may differ from one to the next: each
    waits until fewer than its own limit are under way.
    """

    __slots__ = ("_inside", "_waiting")

    def __init__(self) -> None:
        self._inside = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, limit: int) -> None:
        """Wait for a place; every ``enter`` that returned is followed by one ``leave``."""
        if self._inside < limit and not self._waiting:
            self._inside += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((limit, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place back."""
        self._inside -= 1
        while self._waiting and self._inside < self._waiting[0][0]:
            _, turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)


_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Gate]] = WeakKeyDictionary()


def _let_go_of_parents_sockets() -> None:
    """Give loops that a child inherited a selector of their own.

    An epoll instance is the same one on both sides of a fork: what the child unregisters when it
    throws an inherited session away, the parent would never hear of again.
    """
    for loop in list(_gates):
        if hasattr(loop, "_selector"):
            loop._selector = selectors.DefaultSelector()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_parents_sockets)


def gate_of(scheme: str) -> Gate:
    """The gate that all requests of a URL scheme on the running loop share."""
    gates = _gates.setdefault(asyncio.get_running_loop(), {})
    return gates.setdefault(scheme, Gate())


async def together(calls: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What all calls return; the first failure ends those that still run, and is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failures = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        for failure in failures:
            if failure is not None:
                raise failure
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()


class Shared(Generic[_T]):
    """Questions that are asked once, whoever else asks the same before the answer is there.

    The last who no longer wants to know ends the asking.
    """

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: dict[Hashable, tuple[asyncio.Task[_T], list[None]]] = {}

    async def answer(self, name: Hashable, ask: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """What ``ask`` returns, or raises, for this name."""
        asked = self._asked.get(name)
        if asked is None or asked[0].done():
            asked = self._asked[name] = asyncio.ensure_future(ask()), []
        task, waiting = asked
        waiting.append(None)
        try:
            return await asyncio.shield(task)
        finally:
            waiting.pop()
            if not waiting:
                task.cancel()
                if self._asked.get(name) is asked:
                    del self._asked[name]


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def run_on(loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """What a coroutine function returns when it runs on a loop of another thread.

    Ctrl-C in this thread, and the end of the run it works for, end the coroutine too. Raises
    ``RuntimeError`` on the loop's own thread, which would wait for itself.
    """
    if _running_loop() is loop:
        raise RuntimeError(
            "a remote store cannot be read from the event loop that talks to it; "
            "read in another thread, e.g. with asyncio.to_thread"
        )
    future = asyncio.run_coroutine_threadsafe(call(), loop)
    try:
        while not wait([future], _POLL).done:
            if is_stopped():
                raise CancelledError("the run was stopped")
        return future.result()
    finally:
        future.cancel()
