"""Whether a piece of work is done by compiled code: what ``kernels=`` of an engine means.

``"numpy"``: never. ``"auto"``: where the code is there by now, and asking for it tells the compiler
that it would be worth having. ``"numba"``: wherever there is such code at all; the first run waits
for its compilation. Whatever the answer, the caller has a plain way with the same result.

The setting of a run travels in a context variable, so that it reaches the helper threads of the
run, and kernels need not be handed an engine.
"""

from __future__ import annotations

from contextvars import ContextVar, Token

from lazytensor import native
from lazytensor.config import option
from lazytensor.native import Kernel

__all__ = ["chosen_kernels", "compiled", "is_compiled", "kernels_of_run"]

_WAITING_SECONDS = 120.0
"""How long ``"numba"`` waits for one compilation; a compiler that takes longer hangs."""

_KERNELS: ContextVar[str | None] = ContextVar("lazytensor_kernels", default=None)


def chosen_kernels() -> str:
    """``"numpy"``, ``"auto"`` or ``"numba"``: that of the run, else the option as it holds here.

    >>> with kernels_of_run("numpy"):
    ...     chosen_kernels()
    'numpy'
    """
    kernels = _KERNELS.get()
    if kernels is None:
        kernels = str(option("kernels"))
    return kernels


class kernels_of_run:
    """What holds for everything that is run in this block, in its helper threads too."""

    __slots__ = ("_before", "_kernels")

    def __init__(self, kernels: str) -> None:
        self._kernels = kernels

    def __enter__(self) -> None:
        self._before: Token[str | None] = _KERNELS.set(self._kernels)

    def __exit__(self, *exc_info: object) -> None:
        _KERNELS.reset(self._before)


def compiled(name: str, text: str | None, saves: float) -> Kernel | None:
    """The compiled kernel, if this run is to use it and it is there; else None.

    Parameters
    ----------
    name, text
        As of ``native.kernel``: a module of ``native.kernels``, or what to call ``text``.
    saves
        Seconds that the compiled code would save this time, by the caller's estimate.

    >>> with kernels_of_run("numpy"):
    ...     compiled("negate", "def kernel(p): return -p", 1.0) is None
    True
    """
    kernels = chosen_kernels()
    if kernels == "numpy":
        return None
    if kernels == "auto":
        return native.kernel(name, text=text, saves=saves)
    # Ready code and code that will never come are answered at once: only a compilation is awaited.
    return native.wait(name, text=text, timeout=_WAITING_SECONDS)


def is_compiled(name: str, text: str | None) -> bool:
    """Whether a run would use compiled code, were it started now: for those who only tell.

    >>> with kernels_of_run("numpy"):
    ...     is_compiled("negate", "def kernel(p): return -p")
    False
    """
    kernels = chosen_kernels()
    if kernels == "numba":
        return native.reason(name, text=text) is None
    return kernels == "auto" and native.kernel(name, text=text, saves=0.0) is not None
