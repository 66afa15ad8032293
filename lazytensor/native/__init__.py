"""Compiled helpers that run without the GIL, and the plain code's right to do without them.

A kernel is a function of one integer, the address of a block of int64 parameters, compiled by numba
in a process of its own and kept on disk as object code; the process that calls it needs llvmlite
alone. ``kernel`` never waits: it answers ``None`` until compiled code is there, and the caller goes
on with its plain path, which gives the same result.
"""

from __future__ import annotations

from lazytensor.native.build import Kernel, kernel, reason, wait
from lazytensor.native.libc import Files, file_functions
from lazytensor.native.symbols import symbol

__all__ = ["Files", "Kernel", "file_functions", "kernel", "reason", "symbol", "wait"]
