"""The machine underneath a kernel: memory by address, C functions by address.

A kernel sees integers only. ``pointer`` types make arrays of addresses (``i64(p)[3]``), loads and
stores at any alignment are ``load_``/``store_``, and ``call_i64`` calls a C function whose address
came in as a parameter: unlike a global of ctypes it leaves no address of this process in the object
code. Nothing here checks a bound: the caller of a kernel did. Beware of numba's rule that an int64
and a uint64 make a float64: cast what ``u64`` and ``load_u64`` give before adding to it.

Imported by kernel sources only, in the process that compiles them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import for_range
from numba.extending import intrinsic as numba_intrinsic

__all__ = [
    "FLAGS",
    "call_i32",
    "call_i64",
    "copy_row",
    "f32",
    "f64",
    "fence",
    "fill_row",
    "i8",
    "i16",
    "i32",
    "i64",
    "inner",
    "load_i32",
    "load_i64",
    "load_u8",
    "load_u16",
    "load_u32",
    "load_u64",
    "store_u8",
    "store_u16",
    "store_u32",
    "store_u64",
    "stream_lines",
    "stream_row",
    "u8",
    "u16",
    "u32",
    "u64",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FLAGS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": False,
    "boundscheck": False,
    # No wrappers: an object that Python calls through ctypes needs no symbol of Python.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    # No runtime: arrays, lists and strings do not compile, so a kernel cannot allocate.
    "_nrt": False,
}
"""How every kernel is compiled."""

inner: Decorator = numba.njit(**FLAGS)
"""Decorator of the functions that a kernel calls."""

intrinsic: Decorator = numba_intrinsic

BYTE = ir.IntType(8)
WORD = ir.IntType(64)
LINE = 64
"""Bytes of a cache line: what a streaming store writes whole."""


def _address(context: Any, builder: Any, value: Any, kind: Any) -> Any:
    """Any integer or pointer of a kernel as a 64-bit integer."""
    if isinstance(value.type, ir.PointerType):
        return builder.ptrtoint(value, WORD)
    return context.cast(builder, value, kind, types.int64)


def _pointer(element: Any) -> Callable[..., Any]:
    kind: Any = types.CPointer(element)  # type: ignore[no-untyped-call]

    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            where = _address(context, builder, values[0], signature.args[0])
            return builder.inttoptr(where, context.get_value_type(kind))

        return kind(address), emit

    return pointer


def _load(element: Any) -> Callable[..., Any]:
    @intrinsic
    def load(typing: Any, address: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            stored = context.get_data_type(element)
            where = _address(context, builder, values[0], signature.args[0])
            found = builder.load(builder.inttoptr(where, stored.as_pointer()))
            found.align = 1
            return found

        return element(address), emit

    return load


def _store(element: Any) -> Callable[..., Any]:
    @intrinsic
    def store(typing: Any, address: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            stored = context.get_data_type(element)
            where = _address(context, builder, values[0], signature.args[0])
            written = context.cast(builder, values[1], signature.args[1], element)
            builder.store(written, builder.inttoptr(where, stored.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(address, value), emit

    return store


i8, i16, i32, i64 = (_pointer(t) for t in (types.int8, types.int16, types.int32, types.int64))
u8, u16, u32, u64 = (_pointer(t) for t in (types.uint8, types.uint16, types.uint32, types.uint64))
f32, f64 = _pointer(types.float32), _pointer(types.float64)

load_u8, load_u16, load_u32, load_u64 = (
    _load(t) for t in (types.uint8, types.uint16, types.uint32, types.uint64)
)
load_i32, load_i64 = _load(types.int32), _load(types.int64)
store_u8, store_u16, store_u32, store_u64 = (
    _store(t) for t in (types.uint8, types.uint16, types.uint32, types.uint64)
)


def _call(result: Any) -> Callable[..., Any]:
    """A C function by address, of integer and pointer parameters given as one tuple."""

    @intrinsic
    def call(typing: Any, address: Any, arguments: Any) -> Any:
        if not isinstance(arguments, types.BaseTuple):
            return None  # numba reports that no form of the function fits
        kinds: Any = list(arguments)  # type: ignore[call-overload]

        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            items = [builder.extract_value(values[1], i) for i in range(len(kinds))]
            words = [_address(context, builder, v, t) for v, t in zip(items, kinds, strict=True)]
            kind = ir.FunctionType(context.get_value_type(result), [WORD] * len(words))
            where = _address(context, builder, values[0], signature.args[0])
            return builder.call(builder.inttoptr(where, kind.as_pointer()), words)

        return result(address, arguments), emit

    return call


# A C function of type int leaves the upper half of the register undefined: call_i32 extends it.
call_i32, call_i64 = _call(types.int32), _call(types.int64)


@intrinsic
def copy_row(typing: Any, target: Any, source: Any, nbytes: Any) -> Any:
    """``memcpy(target, source, nbytes)``: the rows must not overlap."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to, start, count = (
            _address(context, builder, v, t) for v, t in zip(values, signature.args, strict=True)
        )
        byte = BYTE.as_pointer()
        copy = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, WORD])
        ends = (builder.inttoptr(to, byte), builder.inttoptr(start, byte))
        builder.call(copy, (*ends, count, ir.IntType(1)(0)))
        return context.get_dummy_value()

    return types.void(target, source, nbytes), emit


@intrinsic
def fill_row(typing: Any, target: Any, value: Any, nbytes: Any) -> Any:
    """``memset(target, value, nbytes)``."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to, content, count = (
            _address(context, builder, v, t) for v, t in zip(values, signature.args, strict=True)
        )
        byte = BYTE.as_pointer()
        fill = builder.module.declare_intrinsic("llvm.memset", [byte, WORD])
        low = builder.trunc(content, BYTE)
        builder.call(fill, (builder.inttoptr(to, byte), low, count, ir.IntType(1)(0)))
        return context.get_dummy_value()

    return types.void(target, value, nbytes), emit


@intrinsic
def stream_lines(typing: Any, target: Any, source: Any, lines: Any) -> Any:
    """Copy whole cache lines past the caches; ``target`` is at the start of one.

    The mark is a hint of LLVM: processors without such stores write as ever.
    """

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to, start, count = (
            _address(context, builder, v, t) for v, t in zip(values, signature.args, strict=True)
        )
        line = ir.VectorType(WORD, LINE // 8).as_pointer()
        hint = builder.module.add_metadata([ir.IntType(32)(1)])
        with for_range(builder, count) as loop:
            offset = builder.mul(loop.index, WORD(LINE))
            found = builder.load(builder.inttoptr(builder.add(start, offset), line))
            found.align = 1
            stored = builder.store(
                found, builder.inttoptr(builder.add(to, offset), line), align=LINE
            )
            stored.set_metadata("nontemporal", hint)
        return context.get_dummy_value()

    return types.void(target, source, lines), emit


@inner
def stream_row(target: int, source: int, nbytes: int) -> None:
    """Copy a row that nobody will read soon without pulling its target into the caches.

    Full lines are streamed if ``target`` is at a multiple of 64, all else is copied. Streamed bytes
    are seen by other threads after a ``fence``.
    """
    if target & (LINE - 1):
        copy_row(target, source, nbytes)
        return
    whole = nbytes & ~(LINE - 1)
    stream_lines(target, source, whole // LINE)
    if nbytes > whole:
        copy_row(target + whole, source + whole, nbytes - whole)


@intrinsic
def fence(typing: Any) -> Any:
    """Make what was streamed visible before whatever this thread writes next."""
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if x86:
            kind = ir.FunctionType(ir.VoidType(), ())
            store_fence = builder.module.declare_intrinsic("llvm.x86.sse.sfence", (), kind)
            builder.call(store_fence, ())
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), emit
