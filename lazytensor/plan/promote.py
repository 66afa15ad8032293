"""Which dtypes an operation computes in and gives back.

NumPy already holds these rules for every ufunc, user-defined dtypes included, so they are asked
for (``ufunc.resolve_dtypes``) rather than written down a second time; what NumPy spells without a
ufunc (``clip``, ``where``, ``real``, ...) has its rule here. Python scalars are *weak* (NEP 50): in
a signature they stand as the types ``int``, ``float`` and ``complex``, and a Python bool as the
dtype ``bool``. This is its own module because namespaces, nodes and the table all ask it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import DTypeError

__all__ = [
    "Loop",
    "Resolver",
    "Signature",
    "by_common",
    "by_part",
    "by_select",
    "by_ufunc",
    "common_dtype",
    "describe",
    "fits",
    "is_extended",
    "is_extended_float",
    "keeping_integers",
    "scalar_array",
    "weak_type",
]

Signature = tuple[Any, ...]
"""Per operand a dtype, or one of the types int, float, complex for a Python scalar."""

BOOL = np.dtype(np.bool_)
_HARMLESS = 6e4
"""Floats below this become any NumPy float without a warning, so none need be switched off."""

_WEAK: dict[type, Any] = {bool: BOOL, int: int, float: float, complex: complex}
_WEAK_DTYPE: dict[Any, np.dtype] = {
    int: np.dtype(np.int64),
    float: np.dtype(np.float64),
    complex: np.dtype(np.complex128),
}


class Loop(NamedTuple):
    """The dtypes operands are cast to before an operation, and the dtype of its result."""

    operands: tuple[np.dtype, ...]
    result: np.dtype


Resolver = Callable[[Signature], Loop]
"""Rule of an operation: signature to loop; raises ``TypeError`` where there is none."""


def weak_type(kind: type) -> Any:
    """What a Python scalar of exactly this type stands as in a signature, else None.

    >>> weak_type(float), weak_type(bool), weak_type(np.float64)
    (<class 'float'>, dtype('bool'), None)
    """
    return _WEAK.get(kind)


def is_extended(dtype: np.dtype) -> bool:
    """Whether this is one of the small formats that the package ml_dtypes adds to NumPy."""
    return dtype.kind == "V" and dtype.type.__module__ == "ml_dtypes"


def is_extended_float(dtype: np.dtype) -> bool:
    """Whether this is ``bfloat16`` or one of the 4, 6 or 8 bit floats of ml_dtypes."""
    return is_extended(dtype) and "float" in dtype.name


def describe(signature: Signature) -> str:
    """The dtypes of a signature in words, as messages name them.

    >>> describe((np.dtype("u1"), float))
    'uint8 and Python float'
    """
    names = [
        str(entry) if isinstance(entry, np.dtype) else f"Python {entry.__name__}"
        for entry in signature
    ]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _settle(signature: Signature) -> Signature:
    """Let weak scalars take an ml_dtypes format, which NumPy's own rules do not foresee.

    NumPy would widen ``bfloat16 + 1.5`` to float32 and ``int4 + 1`` to int8, though a Python
    scalar is meant to leave the dtype of the array alone.
    """
    strong = {entry for entry in signature if isinstance(entry, np.dtype)}
    if len(strong) != 1 or not is_extended(dtype := next(iter(strong))):
        return signature
    takes = (int, float) if is_extended_float(dtype) else (int,)
    return tuple(dtype if entry in takes else entry for entry in signature)


def by_ufunc(ufunc: np.ufunc) -> Resolver:
    """The loop that this NumPy ufunc would pick.

    >>> by_ufunc(np.add)((np.dtype("u1"), int)).result
    dtype('uint8')
    """

    def resolve(signature: Signature) -> Loop:
        dtypes = ufunc.resolve_dtypes((*_settle(signature), None))
        return Loop(tuple(dtypes[: ufunc.nin]), dtypes[-1])

    return resolve


def common_dtype(signature: Signature) -> np.dtype:
    """NumPy 2's ``result_type``, with weak scalars also beside the formats of ml_dtypes.

    Raises ``TypeError`` where the dtypes have none in common.

    >>> common_dtype((np.dtype("u1"), np.dtype("i1"), int))
    dtype('int16')
    """
    entries = _settle(signature)
    values = [entry if isinstance(entry, np.dtype) else entry(0) for entry in entries]
    return np.result_type(*values)


def _arithmetic(dtype: np.dtype) -> bool:
    return dtype.kind in "biufc" or is_extended(dtype)


def by_common(signature: Signature) -> Loop:
    """All operands and the result have the promoted dtype, which must be bool or a number.

    >>> by_common((np.dtype("u1"), int, np.dtype("u2"))).result
    dtype('uint16')
    """
    dtype = common_dtype(signature)
    if not _arithmetic(dtype):
        raise TypeError(f"{dtype} is not a number")
    return Loop((dtype,) * len(signature), dtype)


def by_select(signature: Signature) -> Loop:
    """A condition, then two operands that promote: the rule of ``where``; any dtype is chosen.

    >>> by_select((np.dtype("bool"), np.dtype("f4"), int)).operands
    (dtype('bool'), dtype('float32'), dtype('float32'))
    """
    condition, *rest = signature
    if isinstance(condition, np.dtype) and not _arithmetic(condition):
        raise TypeError(f"{condition} is not a condition")
    if not any(isinstance(entry, np.dtype) for entry in rest):
        # Between Python scalars alone nothing is weak: NumPy's defaults hold.
        rest = [_WEAK_DTYPE[entry] for entry in rest]
    dtype = common_dtype(tuple(rest))
    return Loop((BOOL, dtype, dtype), dtype)


def keeping_integers(ufunc: np.ufunc) -> Resolver:
    """Bool and integers stay as they are (they are already whole); others go by the ufunc.

    >>> keeping_integers(np.rint)((np.dtype("i2"),)).result
    dtype('int16')
    """
    rest = by_ufunc(ufunc)

    def resolve(signature: Signature) -> Loop:
        (dtype,) = signature
        whole = isinstance(dtype, np.dtype) and (
            dtype.kind in "biu" or (is_extended(dtype) and not is_extended_float(dtype))
        )
        return Loop((dtype,), dtype) if whole else rest(signature)

    return resolve


def by_part(signature: Signature) -> Loop:
    """Real or imaginary part: complex gives its real dtype, real numbers give their own.

    >>> by_part((np.dtype("c8"),)).result
    dtype('float32')
    """
    (dtype,) = signature
    if not _arithmetic(dtype):
        raise TypeError(f"{dtype} is not a number")
    part = np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype
    return Loop((dtype,), part)


def scalar_array(value: complex, dtype: np.dtype) -> np.ndarray:
    """A Python scalar as a 0-d array of this dtype.

    Raises ``DTypeError`` for an integer that the dtype cannot hold; a float too large for a
    smaller float becomes infinite, as everywhere in NumPy.

    >>> scalar_array(3, np.dtype("f4"))
    array(3., dtype=float32)
    """
    try:
        if type(value) is float and -_HARMLESS < value < _HARMLESS and dtype.kind == "f":
            return np.array(value, dtype)
        with np.errstate(all="ignore"):
            array = np.array(value, dtype)
    except OverflowError:
        raise DTypeError(
            f"Python integer {_shorten(value)} does not fit {dtype}: cast the tensor to a wider "
            "dtype first, or give the value a dtype with np.asarray"
        ) from None
    if is_extended(dtype) and not is_extended_float(dtype) and int(array) != value:
        raise DTypeError(f"Python integer {_shorten(value)} does not fit {dtype}")
    return array


def _shorten(value: complex) -> str:
    """The digits of a number, without those of a number too long to read."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"of {value.bit_length()} bits"
    return repr(value)


def fits(value: int) -> np.ndarray:
    """A 0-d array that compares with every integer and float as this Python integer does.

    It is what comparisons use for integers outside the dtype of the other operand, for which
    NumPy 2 defines the answer (``uint8 > -1`` is True everywhere) instead of an error.

    >>> fits(-1).dtype, fits(2**63).dtype, fits(2**70).item()
    (dtype('int64'), dtype('uint64'), inf)
    """
    if -(2**63) <= value < 2**63:
        return np.array(value, np.int64)
    if 0 <= value < 2**64:
        return np.array(value, np.uint64)
    return np.array(np.inf if value > 0 else -np.inf, np.float64)
