"""Threads that help with runs, and stay for the next one.

Starting a thread takes some 80 us, as long as reading a small window; waking one that waits takes a
few. So a helper that is done waits for the next errand. Each is given to one run at a time: runs in
several threads, or inside one another, have helpers of their own, of which there are as many as are
needed at once. Those that wait longer than some seconds end.

A process that is forked, or ends, has none: those that wait are sent home before (a fork would
leave the child with their locks, and Python warns of forks beside threads), and those at work
belong to a run, which the child does not have. They are daemons, so that a run that is abandoned
does not keep the interpreter.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from collections.abc import Callable

__all__ = ["Errand", "dismiss", "helpers", "send", "when_idle"]

_SECONDS = 5.0
_JOIN_SECONDS = 1.0

# Re-entrant: a signal handler may fork, or collect, at any moment.
_lock = threading.RLock()
_idle: list[_Helper] = []
_numbers = itertools.count(1)
_resting: list[Callable[[], bool]] = []


class Errand:
    """Something a helper is sent to do once; whoever sent it may take it back before it is begun.

    >>> done = threading.Event()
    >>> errand = Errand(done.set)
    >>> send(errand); begun = done.wait(timeout=10); errand.wait(); begun
    True
    """

    __slots__ = ("_call", "_claim", "_ended", "_over", "is_sent")

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call
        self._claim = threading.Lock()
        self._over = threading.Lock()
        self._over.acquire()
        self._ended = False
        self.is_sent = False

    def wait(self) -> None:
        """Return when it is done, or will never be: not sent, or not begun and taken back.

        May be called again after an exception (Ctrl-C) has ended the waiting.
        """
        if not self.is_sent or self._ended:
            return
        if self._claim.acquire(blocking=False):
            self._call = None
            self._ended = True
            return
        # The flag, since an exception may strike when the lock has just been acquired.
        while not self._ended:
            self._over.acquire()

    def _do(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        call, self._call = self._call, None
        assert call is not None
        call()

    def _end(self) -> None:
        self._ended = True
        self._over.release()


class _Helper:
    """A thread, and what it is sent to do next."""

    def __init__(self) -> None:
        self.errand: Errand | None = None
        self.bell = threading.Lock()
        self.bell.acquire()
        self.thread = threading.Thread(
            target=self._live, name=f"lazytensor-{next(_numbers)}", daemon=True
        )

    def _live(self) -> None:
        while True:
            rang = self.bell.acquire(timeout=_SECONDS)
            with _lock:
                errand, self.errand = self.errand, None
                if errand is not None and not rang:
                    # Sent just after the waiting ended: the bell has rung since.
                    self.bell.acquire()
            if errand is not None:
                try:
                    errand._do()
                    # Free again before the run that sent it goes on, maybe to the next one.
                    with _lock:
                        _idle.append(self)
                finally:
                    errand._end()
                    del errand
            elif rang or self._may_go():
                return

    def _may_go(self) -> bool:
        """After waiting in vain: whether this one ends. The last one looks after what is left."""
        # Not any(): all of them are to be done.
        more = [rest() for rest in _resting]
        with _lock:
            if self.errand is not None or (_idle == [self] and any(more)):
                return False
            if self in _idle:
                _idle.remove(self)
            return True


def send(errand: Errand) -> None:
    """Have a helper do an errand, a new one if none waits.

    Where no thread can be started (a limit of the system, or the interpreter is about to end) it is
    not sent, and ``RuntimeError`` is raised.
    """
    with _lock:
        if _idle:
            # The one that waits for the shortest time; the others may end.
            helper = _idle.pop()
            errand.is_sent = True
            helper.errand = errand
            helper.bell.release()
            return
    helper = _Helper()
    helper.errand = errand
    errand.is_sent = True
    helper.bell.release()
    try:
        helper.thread.start()
    except RuntimeError:
        errand.is_sent = False
        raise


def helpers() -> int:
    """How many helpers wait.

    >>> dismiss(); helpers()
    0
    """
    return len(_idle)


def dismiss() -> None:
    """End the helpers that wait, and wait until they have ended; those at work go on."""
    with _lock:
        sent_home = _idle.copy()
        _idle.clear()
        for helper in sent_home:
            helper.bell.release()
    for helper in sent_home:
        helper.thread.join(_JOIN_SECONDS)


def when_idle(rest: Callable[[], bool]) -> None:
    """Have a helper that waits in vain call ``rest``, and again as long as that returns True."""
    _resting.append(rest)


def _after_fork() -> None:
    """The child has no threads but the one that forked."""
    global _lock
    _lock = threading.RLock()
    _idle.clear()


atexit.register(dismiss)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=dismiss, after_in_child=_after_fork)
