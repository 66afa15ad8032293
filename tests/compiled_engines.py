"""Engines whose kernels are compiled in the process of the tests, before they are used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lazytensor import native
from lazytensor.exec.kernels import choice
from lazytensor.native import Kernel
from tests.compiling import kernel_named, kernel_of

__all__ = ["compiling", "used"]

_READING = "chunks"
"""Sources ask for this one by themselves: it is compiled where they find it."""

used: list[str] = []
"""Kernels that were asked for and given, by name, in order."""


def _compiled(name: str, text: str | None, saves: float) -> Kernel | None:
    """As ``choice.compiled``."""
    if choice.chosen_kernels() == "numpy":
        return None
    if name == _READING:
        return native.wait(name)
    used.append(name)
    return kernel_named(name) if text is None else kernel_of(text)


@contextmanager
def compiling() -> Iterator[None]:
    """All engines have their kernels at once, if they want any."""
    pytest.importorskip("numba")
    original = choice.compiled
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            ours = name.startswith("lazytensor.exec.")
            if ours and getattr(module, "compiled", None) is original:
                patch.setattr(module, "compiled", _compiled)
        yield
