"""What a run tells the outside: how many tasks there are and when one is done."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Protocol

from lazytensor.config import option

__all__ = ["ProgressBar", "Run", "start_run"]


class Listener(Protocol):
    """Something that watches runs; called from worker threads."""

    def start(self, tasks: int) -> None:
        """A run of so many tasks begins."""
        ...

    def advance(self, tasks: int) -> None:
        """So many tasks are done."""
        ...

    def stop(self) -> None:
        """The run ended, well or not."""
        ...


_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("lazytensor_listeners", default=())


class ProgressBar:
    """Shows a progress bar for every collect inside the ``with`` block.

    >>> with lt.ProgressBar(disable=True):
    ...     lt.ones((2, 2)).collect().sum()
    np.float64(4.0)
    """

    def __init__(self, **tqdm_options: Any) -> None:
        self._options = {"unit": "task", "leave": False, **tqdm_options}
        self._bars: list[Any] = []
        self._tokens: list[Token[tuple[Listener, ...]]] = []

    def __enter__(self) -> ProgressBar:
        self._tokens.append(_listeners.set((*_listeners.get(), self)))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _listeners.reset(self._tokens.pop())

    def start(self, tasks: int) -> None:
        """Open a bar."""
        from tqdm import tqdm

        self._bars.append(tqdm(total=tasks, **self._options))

    def advance(self, tasks: int) -> None:
        """Move the innermost bar."""
        self._bars[-1].update(tasks)

    def stop(self) -> None:
        """Close the innermost bar."""
        self._bars.pop().close()


class _Callback:
    """``progress=f``: ``f(done, total)`` after every task."""

    def __init__(self, function: Callable[[int, int], object]) -> None:
        self._function = function
        self._done = self._total = 0

    def start(self, tasks: int) -> None:
        self._done, self._total = 0, tasks

    def advance(self, tasks: int) -> None:
        self._done += tasks
        self._function(self._done, self._total)

    def stop(self) -> None:
        pass


class Run:
    """The listeners of one run."""

    __slots__ = ("_listeners",)

    def __init__(self, listeners: tuple[Listener, ...], tasks: int) -> None:
        self._listeners = listeners
        for listener in listeners:
            listener.start(tasks)

    def advance(self, tasks: int = 1) -> None:
        """Tasks are done."""
        for listener in self._listeners:
            listener.advance(tasks)

    def stop(self) -> None:
        """The run is over."""
        for listener in self._listeners:
            listener.stop()


def start_run(tasks: int, progress: object = None) -> Run:
    """Tell everybody who listens here; ``progress`` is True or ``f(done, total)``."""
    asked = option("progress") if progress is None else progress
    listeners = _listeners.get()
    if callable(asked):
        listeners = (*listeners, _Callback(asked))
    elif asked:
        listeners = (*listeners, ProgressBar())
    return Run(listeners, tasks)
