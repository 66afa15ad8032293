"""Whether the run that this thread works for has been stopped.

Ctrl-C and errors stop a run, but a worker that waits for a slow server would not notice before the
server answers. So engines say here how to ask, and whoever waits asks now and then. The question
travels in a context variable because workers run in copies of their caller's context; it stands in
``plan`` because engines set it, drivers read it, and neither may import the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

__all__ = ["STOPPED", "is_stopped"]

STOPPED: ContextVar[Callable[[], bool] | None] = ContextVar("lazytensor_stopped", default=None)
"""How to ask whether the run of this context has been stopped; None outside of runs."""


def is_stopped() -> bool:
    """Whether the run of this context has been stopped.

    >>> is_stopped()
    False
    """
    ask = STOPPED.get()
    return ask is not None and ask()
