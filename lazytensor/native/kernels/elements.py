"""Elements of every dtype: loads, stores, and conversions with NumPy's meaning.

The texts of fused expressions are made of these. An element is addressed by its number from the
address of the first, which is what LLVM wants to see to vectorise a loop; nothing is aligned. Names
end in a kind and a size in bytes, as NumPy writes dtypes: ``load_u2``, ``as_f4``, ``store_b1``.

A bool is one byte, true if it is not zero, and false or true (0 or 1) when it is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from lazytensor.native.intrinsics import intrinsic

_BYTE = ir.IntType(8)
_BIT = ir.IntType(1)


def _place(context: Any, builder: Any, element: Any, base: Any, i: Any) -> Any:
    """Pointer to the i-th element."""
    stored = _BYTE if element is types.boolean else context.get_value_type(element)
    return builder.gep(builder.inttoptr(base, stored.as_pointer()), [i])


def _load(element: Any) -> Callable[..., Any]:
    @intrinsic
    def load(typing: Any, base: Any, i: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            found = builder.load(_place(context, builder, element, *values))
            found.align = 1
            return builder.icmp_unsigned("!=", found, _BYTE(0)) if _is_bool(element) else found

        return element(types.int64, types.int64), emit

    return load


def _store(element: Any) -> Callable[..., Any]:
    @intrinsic
    def store(typing: Any, base: Any, i: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            written = builder.zext(values[2], _BYTE) if _is_bool(element) else values[2]
            builder.store(written, _place(context, builder, element, *values[:2]), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, element), emit

    return store


def _is_bool(kind: Any) -> bool:
    return isinstance(kind, types.Boolean)


def _truth(builder: Any, value: Any) -> Any:
    """Whether a value is not zero; NaN is not."""
    if isinstance(value.type, ir.IntType):
        return builder.icmp_unsigned("!=", value, value.type(0))
    return builder.fcmp_unordered("!=", value, value.type(0.0))


def _truncated(builder: Any, value: Any, bits: int) -> Any:
    """A float towards zero as a signed integer, the lowest one where there is none.

    So x86 answers, and NumPy with it; LLVM promises nothing there, hence the detour.
    """
    whole, edge = ir.IntType(bits), 2.0 ** (bits - 1)
    # The float below -edge: conversion takes whatever rounds up to -edge. Of too few digits for
    # that, a float is -edge itself or far away.
    wide = isinstance(value.type, ir.DoubleType) and bits == 32
    low = builder.fcmp_ordered(">" if wide else ">=", value, value.type(-edge - wide))
    fits = builder.and_(low, builder.fcmp_ordered("<", value, value.type(edge)))
    safe = builder.select(fits, value, value.type(0.0))
    return builder.select(fits, builder.fptosi(safe, whole), whole(-(2 ** (bits - 1))))


def _whole(builder: Any, value: Any, element: Any) -> Any:
    """A float as an integer of a type.

    Narrow types keep the low bits of 32, as C compilers have it. uint64 has two halves, of which
    the upper is converted less 2**63. (Of uint32, NumPy's answers to negative floats depend on
    where they lie, so expressions do not ask for it.)
    """
    if element is types.uint64:
        half = value.type(2.0**63)
        high = builder.fcmp_ordered(">=", value, half)
        above = _truncated(builder, builder.fsub(value, half), 64)
        turned = builder.xor(above, ir.IntType(64)(-(2**63)))
        return builder.select(high, turned, _truncated(builder, value, 64))
    bits = element.bitwidth
    found = _truncated(builder, value, max(32, bits))
    return found if bits >= 32 else builder.trunc(found, ir.IntType(bits))


def _as(element: Any) -> Callable[..., Any]:
    @intrinsic
    def convert(typing: Any, value: Any) -> Any:
        source = types.int64 if isinstance(value, types.IntegerLiteral) else value
        source = types.boolean if _is_bool(value) else source

        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            (found,) = values
            if _is_bool(element):
                return found if _is_bool(source) else _truth(builder, found)
            if isinstance(source, types.Float) and isinstance(element, types.Integer):
                return _whole(builder, found, element)
            return context.cast(builder, found, source, element)

        return element(source), emit

    return convert


load_b1, as_b1, store_b1 = (make(types.boolean) for make in (_load, _as, _store))
load_i1, as_i1, store_i1 = (make(types.int8) for make in (_load, _as, _store))
load_i2, as_i2, store_i2 = (make(types.int16) for make in (_load, _as, _store))
load_i4, as_i4, store_i4 = (make(types.int32) for make in (_load, _as, _store))
load_i8, as_i8, store_i8 = (make(types.int64) for make in (_load, _as, _store))
load_u1, as_u1, store_u1 = (make(types.uint8) for make in (_load, _as, _store))
load_u2, as_u2, store_u2 = (make(types.uint16) for make in (_load, _as, _store))
load_u4, as_u4, store_u4 = (make(types.uint32) for make in (_load, _as, _store))
load_u8, as_u8, store_u8 = (make(types.uint64) for make in (_load, _as, _store))
load_f4, as_f4, store_f4 = (make(types.float32) for make in (_load, _as, _store))
load_f8, as_f8, store_f8 = (make(types.float64) for make in (_load, _as, _store))
