"""A lock for what one thread may do at a time, which survives a fork."""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["OneAtATime"]


class OneAtATime:
    """``with turns:`` lets one thread in at a time; a forked child starts with nobody inside.

    >>> with OneAtATime():
    ...     "alone"
    'alone'
    """

    __slots__ = ("__weakref__", "_lock", "_process")

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            # The thread that held the lock when the process was forked does not exist here.
            self._lock = threading.Lock()
            self._process = os.getpid()
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[OneAtATime], tuple[()]]:
        return OneAtATime, ()
