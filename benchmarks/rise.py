"""How far the memory of this process rises while something is done. Linux only."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["rise_of"]

_STILL = 0.5
"""Seconds without a change of memory that count as standing still."""
_PATIENCE = 20.0

_T = TypeVar("_T")


def rise_of(work: Callable[[], _T]) -> tuple[int, _T]:
    """Bytes by which resident memory rises above where it stood, at most, and what ``work`` gave.

    Memory has to stand still first: compilers and the like may be at work in the background.
    """
    _settle()
    # The kernel forgets the peak so far.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    result = work()
    return _status("VmHWM") - before, result


def _settle() -> None:
    """Wait until threads that were started in the background have what they need."""
    deadline = time.monotonic() + _PATIENCE
    last, since = _status("VmRSS"), time.monotonic()
    while time.monotonic() < min(deadline, since + _STILL):
        time.sleep(0.02)
        now = _status("VmRSS")
        if now != last:
            last, since = now, time.monotonic()


def _status(key: str) -> int:
    """Bytes of one line of the process's status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = next(line for line in lines if line.startswith(f"{key}:"))
    return int(found.split()[1]) << 10
