"""Rows of a common make, and the evaluations that are not one ufunc call.

The table in ``ops_elementwise`` states operations; here is what many of its rows share: the
phrases of messages and documentation, short constructors for rows of one family, and the NumPy
evaluation of the few operations that NumPy does not spell as a ufunc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError
from lazytensor.plan.op import Compute, Op
from lazytensor.plan.promote import Loop, by_ufunc, keeping_integers

__all__ = [
    "ANY",
    "BITS",
    "CURVED",
    "FLOATING",
    "FLOATS",
    "INTEGERS",
    "KEPT",
    "NUMBERS",
    "POWERED",
    "PROMOTED",
    "REAL",
    "REAL_FLOATS",
    "SIMPLE_POWERS",
    "TRUTH",
    "binary_row",
    "bitwise_row",
    "compare_row",
    "compute_by",
    "compute_clip",
    "compute_imag",
    "compute_power",
    "compute_real",
    "compute_reciprocal",
    "compute_round",
    "compute_where",
    "curve_row",
    "logical_row",
    "refuse_power",
    "rounding_row",
    "shift_row",
    "test_row",
    "unary_row",
]

Arrays = tuple[np.ndarray, ...]

# What an operation takes, in the words of its error message and documentation.
NUMBERS = "numbers"
REAL = "real numbers"
FLOATS = "floats (integers are converted)"
REAL_FLOATS = "real floats (integers are converted)"
BITS = "integers or bools of a common dtype"
INTEGERS = "integers of a common dtype"
ANY = "operands that promote to a common dtype"

PROMOTED = "The dtype is the promoted dtype of the operands; Python scalars do not raise it."
FLOATING = "The dtype is the promoted floating-point dtype; integers give NumPy's float for them."
KEPT = "The dtype is that of ``x``."
TRUTH = "The dtype is bool."


# Evaluation on whole arrays: ufuncs do it themselves, the others are below.


def compute_by(ufunc: np.ufunc) -> Compute:
    """The ufunc itself, on operands as they are: it casts them in cache-sized pieces."""

    def compute(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
        result: np.ndarray = ufunc(*arrays, out=out)
        return result

    return compute


def compute_in_runs(ufunc: np.ufunc, *dtypes: str) -> Compute:
    """As ``compute_by``, but operands of these dtypes and the result lie in runs of memory.

    NumPy (2.4) has loops that fail elsewhere. ``isnan``, ``isinf``, ``isfinite`` and ``signbit``
    leave results that are not neighbours in memory unwritten; products of complex64 are rounded
    otherwise when an operand lies backwards, and squares when both lie apart. So are curves of what
    lies backwards along one dim, and some of half floats that lie apart.
    """
    affected = frozenset(map(np.dtype, dtypes))

    def compute(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
        if affected.isdisjoint(loop.operands) or _all_in_runs(arrays, out):
            result: np.ndarray = ufunc(*arrays, out=out)
            return result
        seen = np.broadcast_arrays(*arrays)
        into = np.empty(seen[0].shape, loop.result) if out is None else out
        axis = int(np.argmax(into.shape))
        rows = max(1, _MOVED * into.shape[axis] // max(1, into.size))
        for at in range(0, into.shape[axis], rows):
            piece = (*(slice(None),) * axis, slice(at, at + rows))
            into[piece] = ufunc(*(x[piece].copy() for x in seen))
        return into

    return compute


CURVED = ("f2", "f4", "f8", "c8", "c16")
"""Dtypes of curves that are rounded otherwise where operands do not lie in runs of memory."""

_MOVED = 1 << 15  # elements that are brought together at a time


def _all_in_runs(arrays: Arrays, out: np.ndarray | None) -> bool:
    return all(map(_in_runs, arrays)) and (out is None or _in_runs(out))


def _in_runs(array: np.ndarray) -> bool:
    """Whether neighbours along the last dim are neighbours in memory, and NumPy goes along it."""
    if array.flags.c_contiguous:
        # One element may lie backwards, too.
        return array.size != 1 or min(array.strides, default=0) >= 0
    steps = [step for step, n in zip(array.strides, array.shape, strict=True) if n > 1]
    return steps[-1] == array.itemsize and steps == sorted(steps, reverse=True)


def _store(values: np.ndarray, loop: Loop, out: np.ndarray | None) -> np.ndarray:
    """Values as an array that owns its memory, or in ``out``."""
    if out is None:
        return np.array(values, loop.result)
    out[...] = values
    return out


def compute_power(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    """NumPy's power, with a typed error where integers have no integer power.

    Floats to a power of ``SIMPLE_POWERS`` are rounded as NumPy does it for one power of all. For an
    array of powers it does so (2.4) only where they repeat in memory along the dim it goes along,
    so that a value would depend on the block and the layout that it is computed in.
    """
    base, power = arrays
    if loop.result in POWERED:
        return _power_of_floats(loop, base, power, out)
    try:
        result: np.ndarray = np.power(base, power, out=out)
    except ValueError as error:
        if "negative integer" not in str(error):
            raise
        raise _no_integer_power(loop) from None
    return result


def _root(x: np.ndarray, *, out: np.ndarray | None = None, dtype: np.dtype) -> np.ndarray:
    """x ** 0.5, which by the standard is 0.0 of -0.0 and inf of -inf, unlike the square root."""
    below = x == -np.inf
    result = np.asarray(np.sqrt(x, out=out, dtype=dtype))
    np.add(result, 0.0, out=result)
    result[below] = np.inf
    return result


SIMPLE_POWERS: dict[float, Callable[..., np.ndarray]] = {
    -1: np.reciprocal,
    0.5: _root,
    1: np.positive,
    2: np.square,
}
"""Powers of floats that are another operation, correctly rounded. (Any number to the power of 0 is
1, whichever way it is computed.)"""

POWERED = frozenset(map(np.dtype, ("f4", "f8")))
"""Floats that NumPy has vector code for; others take the powers of one element after the other."""

_power_in_runs = compute_in_runs(np.power, "f4", "f8")


def _power_of_floats(
    loop: Loop, base: np.ndarray, power: np.ndarray, out: np.ndarray | None
) -> np.ndarray:
    shape = np.broadcast_shapes(base.shape, power.shape)
    if power.size and not any(power.strides):
        # One power of all.
        simple = SIMPLE_POWERS.get(float(power.flat[0]))
        if simple is not None:
            result: np.ndarray = simple(np.broadcast_to(base, shape), out=out, dtype=loop.result)
            return result
    # Before the result is there: it may take the place of an operand.
    parts = list(_simply_powered(np.broadcast_to(base, shape), power, loop.result))
    result = _power_in_runs(loop, (base, power), out)
    for places, values in parts:
        result[places] = values
    return result


def _simply_powered(
    base: np.ndarray, power: np.ndarray, dtype: np.dtype
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where there are simple powers, and what they make of the base there."""
    for value, simple in SIMPLE_POWERS.items():
        places = power == value
        if places.any():
            places = np.broadcast_to(places, base.shape)
            yield places, simple(base[places], dtype=dtype)


def refuse_power(position: int, value: complex, loop: Loop) -> None:
    """Refuse a negative integer constant as the power of an integer."""
    if position == 1 and loop.result.kind in "iu" and isinstance(value, int) and value < 0:
        raise _no_integer_power(loop)


def _no_integer_power(loop: Loop) -> DTypeError:
    return DTypeError(
        f"pow of {loop.result} by a negative integer is not an integer: cast the base to a float "
        "first"
    )


def compute_round(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    """Halves to even; integers and bools are copied."""
    (x,) = arrays
    if loop.operands[0] == loop.result and loop.result.kind in "biu":
        return _store(x, loop, out)
    result: np.ndarray = np.rint(x, out=out)
    return result


def compute_reciprocal(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    """Of integers: 1 // x towards zero, and 0 for 0 (C leaves that one undefined)."""
    (x,) = arrays
    if loop.result.kind not in "iu":
        result: np.ndarray = np.reciprocal(x, out=out)
        return result
    one = np.abs(x.astype(loop.result, copy=False)) == 1
    return _store(np.where(one, x, 0), loop, out)


def compute_real(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    """Copy of the real part; of real numbers, of themselves."""
    return _store(arrays[0].real, loop, out)


def compute_imag(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    """Copy of the imaginary part, or zeros."""
    x = arrays[0]
    return _store(x.imag if x.dtype.kind == "c" else np.zeros(x.shape, x.dtype), loop, out)


def compute_clip(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    """``numpy.clip`` in the promoted dtype, bounds included."""
    x, lo, hi = (array.astype(loop.result, copy=False) for array in arrays)
    if loop.result.kind == "V":
        # The formats of ml_dtypes have minimum and maximum, but no clip of their own.
        return _store(np.minimum(np.maximum(x, lo), hi), loop, out)
    result: np.ndarray = np.clip(x, lo, hi, out=out)
    return result


def compute_where(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    """``numpy.where`` in the promoted dtype, any condition taken as bool."""
    condition, x1, x2 = arrays
    chosen = np.where(
        condition.astype(np.bool_, copy=False),
        x1.astype(loop.result, copy=False),
        x2.astype(loop.result, copy=False),
    )
    return chosen if out is None else _store(chosen, loop, out)


# Rows of a common make.


def unary_row(name: str, ufunc: np.ufunc, expr: str | None = "", **row: Any) -> Op:
    """One operand; compiled as the NumPy function of that name unless ``expr`` says otherwise."""
    row.setdefault("resolver", by_ufunc(ufunc))
    row.setdefault("compute", compute_by(ufunc))
    source = f"np.{ufunc.__name__}({{0}})" if expr == "" else expr
    return Op(name=name, parameters=("x",), ufunc=ufunc, expr=source, **row)


def binary_row(name: str, ufunc: np.ufunc, expr: str | None = "", **row: Any) -> Op:
    """Two operands that broadcast."""
    row.setdefault("compute", compute_by(ufunc))
    source = f"np.{ufunc.__name__}({{0}}, {{1}})" if expr == "" else expr
    return Op(
        name=name,
        parameters=("x1", "x2"),
        resolver=by_ufunc(ufunc),
        ufunc=ufunc,
        expr=source,
        **row,
    )


def curve_row(name: str, ufunc: np.ufunc, doc: str, example: str, note: str = "", **row: Any) -> Op:
    """A function of one float, real or complex, computed by the platform's mathematics.

    NumPy's own vector code is fast, and differs from other code in the last places: there is no
    scalar twin unless ``exprs`` has one.
    """
    note = f"{FLOATING} {note}".strip()
    row = {"compute": compute_in_runs(ufunc, *CURVED), **row}
    return unary_row(name, ufunc, None, doc=doc, takes=FLOATS, note=note, example=(example,), **row)


def compare_row(name: str, ufunc: np.ufunc, sign: str, dunder: str, **row: Any) -> Op:
    """A comparison; integers of different signedness compare by value, complex real part first."""
    note = f"{TRUTH} Integers compare by value whatever their dtypes; NaN compares unequal."
    return binary_row(
        name,
        ufunc,
        f"{{0}} {sign} {{1}}",
        doc=f"Truth of ``x1 {sign} x2``, element by element.",
        note=note,
        takes=ANY,
        dunder=dunder,
        compares=True,
        example=("[1, 2, 3]", "2"),
        **row,
    )


def bitwise_row(name: str, ufunc: np.ufunc, sign: str, dunder: str, what: str) -> Op:
    """A bitwise operation, on bools the logical one."""
    return binary_row(
        name,
        ufunc,
        f"{{0}} {sign} {{1}}",
        doc=f"Bitwise {what} of ``x1`` and ``x2``; of bools the logical one.",
        note=PROMOTED,
        takes=BITS,
        dunder=dunder,
        example=("[12, 10]", "6"),
    )


def logical_row(name: str, ufunc: np.ufunc, expr: str, what: str) -> Op:
    """A logical operation; every non-zero number, NaN too, counts as true."""
    return binary_row(
        name,
        ufunc,
        expr,
        doc=f"Logical {what} of ``x1`` and ``x2``.",
        note=f"{TRUTH} Numbers other than 0 count as true, NaN too.",
        takes=ANY,
        example=("[True, False]", "True"),
    )


def shift_row(name: str, ufunc: np.ufunc, dunder: str, doc: str, **row: Any) -> Op:
    """A shift of integers of one dtype."""
    return binary_row(name, ufunc, doc=doc, takes=INTEGERS, dunder=dunder, **row)


def rounding_row(name: str, ufunc: np.ufunc, doc: str, **row: Any) -> Op:
    """Rounding to whole numbers; integers and bools are whole already."""
    row.setdefault("resolver", keeping_integers(ufunc))
    return unary_row(
        name,
        ufunc,
        exprs={"b": "{0}", "i": "{0}", "u": "{0}"},
        doc=doc,
        note=f"{KEPT} Integers are returned as they are.",
        takes=REAL,
        example=("[-1.5, 0.5, 2.5]",),
        **row,
    )


def test_row(name: str, ufunc: np.ufunc, whole: str, doc: str) -> Op:
    """A test of floats whose answer is the same for every integer."""
    return unary_row(
        name,
        ufunc,
        exprs={"b": whole, "i": whole, "u": whole},
        compute=compute_in_runs(ufunc, "f4", "f8"),
        doc=doc,
        note=f"{TRUTH} A complex number passes as its parts do.",
        takes=NUMBERS,
        example=("[1.0, float('inf'), float('nan')]",),
    )
