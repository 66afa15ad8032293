"""Laws about constants: scalars, and scalars broadcast to a domain.

What is made of constants alone is a constant (``plan.constants`` says which one, and where that is
not certain to the last bit). An operand that changes nothing goes away, and so does one that does
not matter; the latter only if computing it could show nothing but its values, for a hole that was
an error must stay one. Floats have hardly any such operands: x + 0 loses the sign of -0.0, x * 0 is
NaN for infinities.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytensor.plan.constants import (
    DEEPEST,
    constant_of,
    filled,
    may_fail,
    scalar,
    value_of,
)
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Elementwise, Field, Reduce, Reshape
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.ops_make import POWERED
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import box_of, settled

__all__ = [
    "choose_by_constant",
    "constant_background",
    "drop_neutral_operand",
    "fold_cast",
    "fold_downsample",
    "fold_elementwise",
    "fold_field",
    "fold_join",
    "fold_reduce",
    "fold_reshape",
    "ignore_operand",
    "simple_power",
]


def _folded(node: Node) -> Node | None:
    """All of the constants below a node at once: a sweep tries laws from above."""
    if node.height > DEEPEST:
        return None
    data = value_of(node)
    return None if data is None else filled(node, data)


@law(Elementwise, flag="constant_folding")
def fold_elementwise(f: Elementwise) -> Node | None:
    """f(c, d) = a constant

    Not where it is an error: that is raised when it is computed.
    """
    return _folded(f)


@law(Cast, flag="constant_folding")
def fold_cast(cast: Cast) -> Node | None:
    """cast(c) = a constant

    Not for floats that the integer dtype does not hold: what those become is up to the processor.
    """
    return _folded(cast)


@law(Field, flag="constant_folding")
def fold_field(field: Field) -> Node | None:
    """c["f"] = a constant"""
    return _folded(field)


@law(Reduce, flag="constant_folding")
def fold_reduce(reduce: Reduce) -> Node | None:
    """reduce(c) = a constant

    A sum is the product with the number of elements, as a float rounded once.
    """
    return _folded(reduce)


@law(Downsample, flag="constant_folding")
def fold_downsample(node: Downsample) -> Node | None:
    """downsample(c) = a constant

    Means of floats only where every sum of a window is exact; not of -0.0, whose mean is 0.0.
    """
    return _folded(node)


@law(Reshape, flag="constant_folding")
def fold_reshape(reshape: Reshape) -> Node | None:
    """reshape(c) = a constant"""
    return _folded(reshape)


@law(Join, flag="constant_folding")
def fold_join(join: Join) -> Node | None:
    """join(c, c) = a constant"""
    return _folded(join)


@law(Overlay, flag="constant_folding")
def constant_background(overlay: Overlay) -> Node | None:
    """overlay(c, x) = overlay(x, fill=c), where c covers the window, or is the fill value"""
    if constant_of(overlay.inputs[0]) is None:
        return None
    fill, seen = overlay.fill, 0
    for layer in overlay.inputs:
        data = constant_of(layer)
        if data is None or not (data == fill or _covers(layer, overlay)):
            break
        fill, seen = data, seen + 1
    if not seen:
        return None
    if seen == len(overlay.inputs):
        assert fill is not None
        return filled(overlay, fill)
    return Overlay(overlay.inputs[seen:], overlay.window, fill)


def _covers(layer: Node, overlay: Overlay) -> bool:
    bounds = zip(box_of(layer.domain), box_of(overlay.window), strict=True)
    return all(a <= lo and hi <= b for (a, b), (lo, hi) in bounds)


@law(Elementwise, flag="constant_folding")
def choose_by_constant(f: Elementwise) -> Node | None:
    """where(True, x, y) = x"""
    if f.op != "where":
        return None
    condition = constant_of(f.inputs[0])
    if condition is None or not f.size:
        return None
    true = bool(scalar(condition, f.inputs[0].dtype))
    chosen, dropped = f.inputs[1:] if true else f.inputs[:0:-1]
    if may_fail(dropped):
        return None
    return settled(chosen if chosen.dtype == f.dtype else Cast(chosen, f.dtype), f.domain)


def _zero(dtype: np.dtype) -> int:
    return 0


def _one(dtype: np.dtype) -> int:
    return 1


def _smallest(dtype: np.dtype) -> int:
    return 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _greatest(dtype: np.dtype) -> int:
    return 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)


def _all_bits(dtype: np.dtype) -> int:
    return -1 if dtype.kind == "i" else _greatest(dtype)


_Number = Callable[[np.dtype], int]

_NEUTRAL: dict[str, tuple[_Number, tuple[int, ...]]] = {
    "add": (_zero, (0, 1)),
    "subtract": (_zero, (1,)),
    "multiply": (_one, (0, 1)),
    "floor_divide": (_one, (1,)),
    "bitwise_and": (_all_bits, (0, 1)),
    "bitwise_or": (_zero, (0, 1)),
    "bitwise_xor": (_zero, (0, 1)),
    "bitwise_left_shift": (_zero, (1,)),
    "bitwise_right_shift": (_zero, (1,)),
    "maximum": (_smallest, (0, 1)),
    "minimum": (_greatest, (0, 1)),
    "logical_and": (_one, (0, 1)),
    "logical_or": (_zero, (0, 1)),
    "logical_xor": (_zero, (0, 1)),
}
"""The integer (or bool) that changes nothing, and as which operand."""

_DECIDING: dict[str, _Number] = {
    "multiply": _zero,
    "bitwise_and": _zero,
    "bitwise_or": _all_bits,
    "maximum": _greatest,
    "minimum": _smallest,
    "logical_and": _zero,
    "logical_or": _one,
}
"""The integer (or bool) beside which the other operand does not matter."""


def _number(data: bytes, x: Node, dtype: np.dtype) -> int | None:
    """A constant operand as an operation with a result of ``dtype`` sees it, if it is integral."""
    if x.dtype.kind not in "biu":
        return None
    return int(scalar(data, x.dtype).astype(dtype))


@law(Elementwise, flag="constant_folding")
def drop_neutral_operand(f: Elementwise) -> Node | None:
    """x + 0 = x, x * 1 = x, x & True = x, ... of integers and bools"""
    neutral = _NEUTRAL.get(f.op)
    if neutral is None or f.dtype.kind not in "biu":
        return None
    number, places = neutral
    for place in places:
        x, other = f.inputs[1 - place], f.inputs[place]
        data = constant_of(other)
        if data is None or x.dtype != f.dtype or not f.size:
            continue
        if _number(data, other, f.dtype) == number(f.dtype):
            return settled(x, f.domain)
    return None


_SQUARED = frozenset(map(np.dtype, ("f2", "f4", "f8")))
_POWERS: dict[float, str] = {2: "square", 1: "positive", -1: "reciprocal"}


@law(Elementwise, flag="constant_folding")
def simple_power(f: Elementwise) -> Node | None:
    """x ** 2 = square(x), and of floats x ** -1 = reciprocal(x), x ** 1 = x

    A power of 0.5 is no square root: they differ for -0.0 and -inf. Not of complex numbers, which
    NumPy multiplies otherwise, and not of the small floats of other libraries, whose NaN differ.
    """
    if f.op != "pow" or not (f.dtype.kind in "iu" or f.dtype in _SQUARED):
        return None
    x, power = f.inputs
    data = constant_of(power)
    if data is None or not f.size:
        return None
    number = float(scalar(data, power.dtype))
    if number != 2 and f.dtype not in POWERED:
        return None
    name = _POWERS.get(number)
    if name is None:
        return None
    x = x if x.dtype == f.dtype else Cast(x, f.dtype)
    return settled(x if name == "positive" else Elementwise(name, (x,)), f.domain)


@law(Elementwise, flag="constant_folding")
def ignore_operand(f: Elementwise) -> Node | None:
    """x * 0 = 0, x & False = False, max(x, 255) = 255, ... of integers and bools"""
    deciding = _DECIDING.get(f.op)
    if deciding is None or f.dtype.kind not in "biu":
        return None
    for x, other in (f.inputs, f.inputs[::-1]):
        data = constant_of(other)
        if data is None or not f.size:
            continue
        value = _number(data, other, f.dtype)
        if value is not None and value == deciding(f.dtype) and not may_fail(x):
            return filled(f, np.array(value, f.dtype).tobytes())
    return None
