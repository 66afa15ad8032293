"""What a run tells the outside: how many tasks there are and when one is done."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import cache, partial
from typing import Any, Protocol

from lazytensor.config import option

__all__ = ["ProgressBar", "Run", "start_run"]


class Watch(Protocol):
    """What follows one run; called from its worker threads, one at a time."""

    def update(self, tasks: int) -> object:
        """So many tasks are done."""
        ...

    def close(self) -> None:
        """The run ended, well or not."""
        ...


Begin = Callable[[int], Watch]
"""Called with the number of tasks when a run begins."""

_listeners: ContextVar[tuple[Begin, ...]] = ContextVar("lazytensor_listeners", default=())


class ProgressBar:
    """Shows a progress bar for every collect inside the ``with`` block.

    Takes the options of ``tqdm``. Runs that overlap have a bar each.

    >>> with lt.ProgressBar(disable=True):
    ...     lt.ones((2, 2)).collect().sum()
    np.float64(4.0)
    """

    def __init__(self, **tqdm_options: Any) -> None:
        self._options = {"unit": "task", "leave": False, "miniters": 1, **tqdm_options}
        self._tokens: list[Token[tuple[Begin, ...]]] = []

    def __enter__(self) -> ProgressBar:
        self._tokens.append(_listeners.set((*_listeners.get(), self.begin)))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _listeners.reset(self._tokens.pop())

    def begin(self, tasks: int) -> Watch:
        """A bar for one run."""
        bar: Watch = _bar_class()(total=tasks, **self._options)
        return bar


@cache
def _bar_class() -> Any:
    """tqdm without its monitor, a thread that would outlive the bars."""
    from tqdm import tqdm

    return type("Bar", (tqdm,), {"monitor_interval": 0})


class _Callback:
    """``progress=f``: ``f(done, total)`` after every task."""

    def __init__(self, function: Callable[[int, int], object], total: int) -> None:
        self._function = function
        self._done, self._total = 0, total

    def update(self, tasks: int) -> None:
        self._done += tasks
        self._function(self._done, self._total)

    def close(self) -> None:
        pass


class Run:
    """Everything that watches one run."""

    __slots__ = ("_watches",)

    def __init__(self, listeners: tuple[Begin, ...], tasks: int) -> None:
        self._watches = [begin(tasks) for begin in listeners]

    def advance(self, tasks: int = 1) -> None:
        """Tasks are done."""
        for watch in self._watches:
            watch.update(tasks)

    def stop(self) -> None:
        """The run is over."""
        for watch in self._watches:
            watch.close()


def start_run(tasks: int, progress: object = None) -> Run:
    """Tell everybody who listens here; ``progress`` is True or ``f(done, total)``."""
    asked = option("progress") if progress is None else progress
    listeners = _listeners.get()
    if callable(asked):
        listeners = (*listeners, partial(_Callback, asked))
    elif asked:
        listeners = (*listeners, ProgressBar().begin)
    return Run(listeners, tasks)
