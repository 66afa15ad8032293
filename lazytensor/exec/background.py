"""Collecting in the background: a handle on a run in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from lazytensor.exec.pool import CancelToken

__all__ = ["Handle", "submit"]

_T = TypeVar("_T")


class Handle(Generic[_T]):
    """A run under way; its methods are those of ``concurrent.futures.Future``.

    >>> handle = lt.ones(3).collect(background=True)
    >>> handle.result(timeout=10)
    array([1., 1., 1.])
    """

    def __init__(self, future: Future[_T], token: CancelToken) -> None:
        self._future = future
        self._token = token

    def result(self, timeout: float | None = None) -> _T:
        """The result, waiting for it; raises what the run raised, or ``TimeoutError``."""
        return self._future.result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the run raised, None if it went well."""
        return self._future.exception(timeout)

    def done(self) -> bool:
        """True when the run has ended, however."""
        return self._future.done()

    def cancel(self) -> bool:
        """Stop the run before its next task; False if it has ended already."""
        if self._future.done():
            return False
        self._token.cancel()
        return True

    def add_done_callback(self, function: Callable[[Handle[_T]], Any]) -> None:
        """Call ``function(handle)`` when the run has ended (at once if it has)."""
        self._future.add_done_callback(lambda _: function(self))


def submit(call: Callable[[CancelToken], _T]) -> Handle[_T]:
    """Run ``call(token)`` in a thread of its own, in a copy of this context."""
    future: Future[_T] = Future()
    token = CancelToken()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = call(token)
        except BaseException as error:  # noqa: BLE001 - raised by result()
            future.set_exception(error)
        else:
            future.set_result(result)

    context = copy_context()
    threading.Thread(
        target=context.run, args=(run,), name="lazytensor-background", daemon=True
    ).start()
    return Handle(future, token)
