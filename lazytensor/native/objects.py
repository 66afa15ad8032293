"""Object code in memory: linked by llvmlite, called through ctypes.

numba is not imported: its runtime costs 300 ms at start, a linker 30. The engines that own the code
are kept for good, since no one knows which threads still run in it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["ENTRY", "FAILED", "Kernel", "load", "machine", "processor", "trial"]

Kernel = Callable[[int], int]

ENTRY = "lazytensor_kernel"
"""The one symbol of an object: ``int64_t lazytensor_kernel(int64_t parameters)``."""

FAILED = -(2**63)
"""What a kernel returns that raised: the house flags let none raise, so it is a bug in it."""

_SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
_engines: list[Any] = []


def machine(triple: str | None = None) -> Any:
    """llvmlite's target machine for this processor; the caller imported ``llvmlite`` before."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(triple) if triple else llvm.Target.from_default_triple()
    name, features = processor()
    return target.create_target_machine(cpu=name, features=features, opt=3, jit=True)


def processor() -> tuple[str, str]:
    """Name and features of this processor, as LLVM calls them."""
    import llvmlite.binding as llvm

    try:
        return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell on some systems: then nothing special is assumed
        return llvm.get_host_cpu_name(), ""


def load(code: bytes) -> Kernel:
    """The kernel of an object file, as a function that releases the GIL.

    The code must have survived its ``trial``: LLVM ends the process over a symbol that is nowhere,
    and over bytes that are no object file.
    """
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(ENTRY)
    if not address:
        raise RuntimeError(f"the object file has no symbol {ENTRY}")
    _engines.append(engine)
    return _SIGNATURE(address)


def trial() -> None:
    """Load the object file on standard input: a process that survives it says that it loads."""
    load(sys.stdin.buffer.read())
