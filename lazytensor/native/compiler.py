"""The compiling process: a kernel's source in, object code out.

A process of its own, for reasons measured and feared. numba compiles in Python, some seconds for a
large kernel: a thread would take the GIL from the threads that read meanwhile (a read of 0.2 s took
0.6). A fork during a compilation would leave the locks of numba and of the importer held for ever
in the child. A program that ends would lose the work. And the code can be tried where a missing
symbol, over which LLVM ends the process, ends nobody else's.

numba makes IR by its public functions; the entry with one parameter is linked to it here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from lazytensor.native import objects, store

__all__ = ["compile_source", "finish", "main", "start"]

_MATH = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos",
    "cosh", "erf", "erfc", "exp", "exp2", "expm1", "fabs", "floor", "fma", "fmod", "frexp", "hypot",
    "ldexp", "lgamma", "log", "log10", "log1p", "log2", "modf", "nextafter", "pow", "rint", "round",
    "sin", "sinh", "sqrt", "tan", "tanh", "tgamma", "trunc",
)  # fmt: skip
ALLOWED = frozenset(
    ["memcpy", "memmove", "memset", "memcmp", *_MATH, *(f"{name}f" for name in _MATH)]
)
"""C functions that a kernel may call by name: those that every process has."""


def start(function: str, data: bytes, *, separate: bool) -> subprocess.Popen[bytes]:
    """A fresh interpreter that runs a function of this room, with ``data`` as standard input.

    ``function`` is ``"compiler.main"`` or ``"objects.trial"``. ``separate`` puts the process out of
    reach of the terminal's Ctrl-C. It has all its input at once, and so gets on if the caller ends.
    Raises ``OSError`` if no process can be started.
    """
    module, name = function.split(".")
    command = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        f"from lazytensor.native.{module} import {name}; {name}()"
    )
    # Last, our own folder: an empty entry means another one since a change of directory.
    path = json.dumps([*map(str, sys.path), str(Path(__file__).parents[2])])
    with tempfile.TemporaryFile() as job:
        job.write(data)
        job.seek(0)
        return subprocess.Popen(
            [sys.executable, "-I", "-W", "ignore", "-c", command, path],
            stdin=job,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=separate,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )


def _environment() -> dict[str, str]:
    """The caller's without options of numba, which would change the code but not its key.

    numba optimizes each function with all that it calls, and again in each of its callers; here the
    whole is optimized, once, which halves the time.
    """
    kept = {name: v for name, v in os.environ.items() if not name.startswith("NUMBA_")}
    return kept | {"NUMBA_OPT": "0"}


def finish(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """Wait for a process: its standard output.

    Raises ``RuntimeError`` with the last line it wrote if it failed, or took more than ``timeout``
    seconds.
    """
    with process:
        try:
            answer, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RuntimeError(f"the compiler was still busy after {timeout} seconds") from None
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"exit status {process.returncode}"
        raise RuntimeError(f"the compiler failed: {last}")
    return answer


def main() -> None:
    """Answer the job on standard input with an object file on standard output, and keep it."""
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever a compiler prints is no part of the answer
    job = json.loads(sys.stdin.buffer.read())
    with store.sole_writer(job["path"]):
        code = store.read(job["path"])  # of another process, which compiled while this one waited
        if code is None:
            code = compile_source(job["name"], job["source"])
            finish(start("objects.trial", code, separate=False), timeout=60)
            store.write(job["path"], code)
    with contextlib.suppress(BrokenPipeError), os.fdopen(answer, "wb") as out:
        out.write(code)  # a caller that has ended meanwhile left the pipe


def compile_source(name: str, source: str) -> bytes:
    """Object code of the function ``kernel`` in a module's source text.

    Raises ``RuntimeError`` if the code calls what not every process has.
    """
    import llvmlite.binding as llvm
    import numba

    from lazytensor.native.intrinsics import FLAGS

    module = ModuleType(name)
    exec(compile(source, f"<kernel {name}>", "exec"), module.__dict__)
    function: Any = numba.njit("int64(int64)", **FLAGS)(module.__dict__["kernel"])
    signature = function.signatures[0]
    native = function.overloads[signature].fndesc.llvm_func_name
    code = llvm.parse_assembly(function.inspect_llvm(signature))
    code.link_in(llvm.parse_assembly(_entry(native, code.triple)))
    for item in code.functions:
        if not item.is_declaration and item.name != objects.ENTRY:
            item.linkage = "internal"
    machine = objects.machine(code.triple)
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.slp_vectorization = True
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(code, passes)
    code.verify()
    _refuse_symbols(code)
    return bytes(machine.emit_object(code))


def _entry(native: str, triple: str) -> str:
    """IR of the exported function: numba's convention (result by pointer, status) made C's."""
    from llvmlite import ir

    word, status = ir.IntType(64), ir.IntType(32)
    error = ir.IntType(8).as_pointer()
    module = ir.Module()
    module.triple = triple
    kind = ir.FunctionType(status, [word.as_pointer(), error.as_pointer(), word])
    callee = ir.Function(module, kind, native)
    entry = ir.Function(module, ir.FunctionType(word, [word]), objects.ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block())
    result, raised = builder.alloca(word), builder.alloca(error)
    builder.store(word(objects.FAILED), result)
    state = builder.call(callee, [result, raised, entry.args[0]])
    good = builder.icmp_signed("==", state, status(0))
    builder.ret(builder.select(good, builder.load(result), word(objects.FAILED)))
    return str(module)


def _refuse_symbols(code: Any) -> None:
    wanted = [*code.functions, *code.global_variables]
    foreign = [
        item.name
        for item in wanted
        if item.is_declaration and not item.name.startswith("llvm.") and item.name not in ALLOWED
    ]
    if foreign:
        raise RuntimeError(f"the kernel needs {', '.join(foreign)}, which not every process has")
