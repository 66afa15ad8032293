"""Kernels compiled in this process, as many tests of small ones want them.

A process for each would import numba again and again.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from lazytensor.native import Kernel, kernels, objects

# As the compiling process has it: kernels are optimized once, as a whole. numba reads it when it is
# imported, and costs twice the time if that was before.
os.environ.setdefault("NUMBA_OPT", "0")


@cache
def kernel_of(text: str) -> Kernel:
    """The kernel of a source text."""
    from lazytensor.native.compiler import compile_source

    return objects.load(compile_source("test", text))


@cache
def kernel_named(name: str) -> Kernel:
    """A kernel of the package."""
    return kernel_of(Path(kernels.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
