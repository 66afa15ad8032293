"""Laws of ``cast``: which detours over another dtype change nothing, and which casts may wait.

What a cast does to every value is known from the two dtypes, so both laws are tables over dtypes.
They are written down as conditions on kinds, ranges and precision, and proven by tests that try all
values of 8 and 16 bits, and special values of wider ones.

- *Detours.* An integer is the same number wherever it fits, so it may skip any dtype that holds all
  of its kind. Not so floats: widening one makes a signalling NaN quiet, so even float32 by way of
  float64 back to float32 is not the identity. What only copies bits (into a complex number and out
  again) may be skipped. Out of the range of an integer dtype, what a float becomes is up to the
  processor and to the dtype it came from; such casts are left as they are.
- *Order.* A cast that keeps the order of values commutes with picking the least, the greatest or
  the middle one; one that keeps different values different, with picking the most frequent one.

Formats of ml_dtypes convert in ways of their own and are left alone. A cast is not moved into the
layers of a join or an overlay: it would be the same work in more nodes, and a window is in place
before it as well as after it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.rules.law import law

__all__ = ["cast_after_downsample", "drop_identity_cast", "merge_casts"]

_MOST_STOPS = 6
"""How many casts one looks back at: programs that convert more often do not convert on purpose."""

_WHOLE = "biu"
_REAL = "biuf"
_DIGITS = {2: 11, 4: 24, 8: 53}
"""Bits of a float's significand by its size in bytes: integers up to there are exact."""


@law(Cast, flag="simplify_expression")
def drop_identity_cast(cast: Cast) -> Node | None:
    """cast(x, dtype(x)) = x"""
    return cast.x if cast.to == cast.x.dtype else None


@law(Cast, flag="cast_pushdown")
def merge_casts(cast: Cast) -> Node | None:
    """cast(cast(x, a), b) = cast(x, b), where the way over a changes no bit

    Or over several: from float64 to float32 and back loses nothing of what was a byte before.
    """
    below = cast.x
    if type(below) is not Cast:
        return None
    stops = [cast.to]
    while type(below) is Cast and len(stops) <= _MOST_STOPS:
        stops.append(below.to)
        below = below.x
        start = below.dtype
        # From below: what skips one stop goes directly to the next.
        if all(_is_detour(start, stops[i], stops[i - 1]) for i in range(len(stops) - 1, 0, -1)):
            return Cast(below, cast.to)
    return None


@law(Downsample, flag="cast_pushdown")
def cast_after_downsample(node: Downsample) -> Node | None:
    """downsample(cast(x, t), f) = cast(downsample(x, f), t), where the cast keeps what is picked

    The cast then is of fewer elements. A mean is no pick: it rounds in the dtype it is in.
    """
    inner = node.x
    if type(inner) is not Cast or not _commutes(node.method, inner.x.dtype, inner.to):
        return None
    return Cast(node.with_inputs((inner.x,)), inner.to)


@lru_cache(maxsize=1024)
def _is_detour(start: np.dtype, way: np.dtype, end: np.dtype) -> bool:
    """True if going from ``start`` to ``end`` over ``way`` gives the bits of going directly."""
    if not (_is_plain(start) and _is_plain(way) and _is_plain(end)):
        return False
    if start.kind == way.kind and start.itemsize == way.itemsize:
        return True  # at most the bytes of every value were swapped
    if start.kind in _WHOLE:
        return _is_detour_of_integers(start, way, end)
    if end.kind in "iu":
        return False
    if start.kind == "f":
        if way.kind not in "fc" or _component(way) < start.itemsize:
            return False
        if end.kind == "b":
            return True
        copied = way.kind == "c" and _component(way) == start.itemsize
        return copied or (end.kind == "c" and _component(end) == _component(way))
    if way.kind == "f":
        return end.kind == "f" and way.itemsize == _component(start)
    return way.kind == "c" and _component(way) >= _component(start) and end.kind == "b"


def _is_detour_of_integers(start: np.dtype, way: np.dtype, end: np.dtype) -> bool:
    if way.kind in "iu":
        if _fits(start, way):
            return True
        # Wrapping keeps the lower bits, and as long as all are kept, whether one is set.
        if end.kind == "b":
            return way.itemsize >= start.itemsize
        return end.kind in "iu" and end.itemsize <= way.itemsize
    if way.kind not in "fc" or not _is_exact(start, way):
        return False
    return end.kind not in "iu" or _fits(start, end)


@lru_cache(maxsize=1024)
def _commutes(method: str, start: np.dtype, end: np.dtype) -> bool:
    """True if the cast from ``start`` to ``end`` may follow a downsample by ``method``."""
    if start.kind not in _REAL or end.kind not in _REAL:
        return False
    if not (_is_plain(start) and _is_plain(end)):
        return False
    if method in ("min", "max", "median"):
        return _keeps_order(start, end)
    return method == "mode" and _keeps_order(start, end) and _is_exact(start, end)


def _keeps_order(start: np.dtype, end: np.dtype) -> bool:
    """True if no value becomes greater than one that it was less than; NaN stays NaN."""
    return end.kind == "f" or (start.kind in _WHOLE and _fits(start, end))


def _is_exact(start: np.dtype, end: np.dtype) -> bool:
    """True if every number of a real dtype is one of the other, too."""
    if start.kind in _WHOLE:
        return _fits(start, end) if end.kind in _WHOLE else _bits(start) <= _DIGITS[_component(end)]
    return end.kind in "fc" and _component(end) >= start.itemsize


def _is_plain(dtype: np.dtype) -> bool:
    """NumPy's own numbers, but for extended precision, which differs between machines."""
    return dtype.kind in "biufc" and _component(dtype) <= 8


def _component(dtype: np.dtype) -> int:
    """Bytes of a number, or of each part of a complex one."""
    return dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize


def _bits(dtype: np.dtype) -> int:
    """Bits of the greatest magnitude of an integer dtype; that of the least one is a power of 2."""
    return 1 if dtype.kind == "b" else 8 * dtype.itemsize - (dtype.kind == "i")


def _fits(start: np.dtype, end: np.dtype) -> bool:
    """True if an integer or bool dtype holds all values of another."""
    if start.kind == "i" and end.kind != "i":
        return False
    return (end.kind != "b" and _bits(start) <= _bits(end)) or start.kind == end.kind == "b"
