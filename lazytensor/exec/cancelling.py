"""What a run raises that was cancelled.

It is a ``concurrent.futures.CancelledError``, as everybody expects it, and made when it is raised:
that package takes longer to import than reading a chunk.
"""

from __future__ import annotations

from functools import cache

__all__ = ["cancelled", "is_cancellation", "kind"]


@cache
def kind() -> type[Exception]:
    """The type of what is raised, a ``concurrent.futures.CancelledError``."""
    from concurrent.futures import CancelledError

    class Cancelled(CancelledError):
        """A run was cancelled through its handle."""

    return Cancelled


def cancelled() -> Exception:
    """The error of a run that was cancelled.

    >>> raise cancelled()
    Traceback (most recent call last):
        ...
    lazytensor.exec.cancelling.kind.<locals>.Cancelled: the run was cancelled
    """
    return kind()("the run was cancelled")


def is_cancellation(error: Exception) -> bool:
    """Whether an error says that something else was cancelled, such as a request.

    >>> from concurrent.futures import CancelledError
    >>> is_cancellation(CancelledError()), is_cancellation(cancelled())
    (True, False)
    """
    from concurrent.futures import CancelledError

    return isinstance(error, CancelledError) and not isinstance(error, kind())
