"""Letting Python's search for cyclic garbage wait while a large plan is worked on.

Planning makes objects by the hundred thousand, and all of them are needed to its end. The collector
cannot know that: whenever there are a quarter more, it looks through all there are, and of ten
thousand layers or operations planning would spend two thirds of its time so. Plans have no cycles,
so that nothing is missed meanwhile; what is not cyclic is freed at once, as ever.

So it is while modules are imported, which are there for good: looking through them takes a tenth of
the time to the first result of a process.

The switch is the process's own, so it is only used for large plans and for imports, and for as long
as one thread takes for one of them: whoever begins while another is at it does not make it longer.
It stays as it is where somebody else has turned it off.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazytensor.plan.node import Node

__all__ = ["collector_waits", "importing", "is_large"]

_MANY = 1000
"""Nodes below which the collector is not worth the trouble."""

_FAR = 4
"""How far from the root a node of many inputs is looked for."""

_MODULES = 20
"""Modules that are worth it."""

_lock = threading.Lock()
_ours = False


def _renew() -> None:
    """In a forked child there is only the thread that forked: nobody is planning."""
    global _lock, _ours
    _lock = threading.Lock()
    if _ours:
        _ours = False
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def is_large(root: Node) -> bool:
    """Whether a plan is seen at once to have thousands of nodes: it is high, or wide near its root.

    >>> is_large(lt.concat([lt.full((2,), k) for k in range(2000)])[5:]._node), is_large(
    ...     lt.arange(3)._node)
    (True, False)
    """
    if root.height > _MANY:
        return True
    for _ in range(_FAR):
        if not root.inputs:
            return False
        if len(root.inputs) > _MANY:
            return True
        root = root.inputs[0]
    return False


def collector_waits(large: bool = True) -> AbstractContextManager[None]:
    """A block in which no cyclic garbage is looked for, if what is planned is ``large``.

    >>> import gc
    >>> with collector_waits(), collector_waits():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    return _waiting() if large else _AT_ONCE


_AT_ONCE = nullcontext()


@contextmanager
def importing() -> Iterator[None]:
    """A block that imports modules of ours, in which no cyclic garbage is looked for.

    What is there afterwards counts as old at once: freezing everything and unfreezing it puts it
    there without looking at it, where looking at all that is new takes longer than the pause saved.

    >>> with importing():
    ...     import lazytensor.sample
    """
    before = len(sys.modules)
    with collector_waits():
        yield
        if len(sys.modules) - before > _MODULES and not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()


@contextmanager
def _waiting() -> Iterator[None]:
    global _ours
    lock = _lock
    if not gc.isenabled() or not lock.acquire(blocking=False):
        yield
        return
    try:
        gc.disable()
        _ours = True
        yield
    finally:
        if lock is _lock:
            _ours = False
            gc.enable()
        lock.release()
