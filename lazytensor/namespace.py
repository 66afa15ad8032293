"""Data types, constants and the questions one asks of them.

What the Array API standard 2025.12 puts under "Data types", "Data type functions", "Constants" and
"Inspection". Dtypes are NumPy's own objects, so they compare equal to what arrays carry; the small
formats of ml_dtypes are looked up when first asked for, because importing that package takes time.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from lazytensor.errors import DTypeError
from lazytensor.plan.promote import (
    common_dtype,
    is_extended,
    is_extended_float,
    weak_type,
)

__all__ = [
    "__array_namespace_info__",
    "bool",
    "can_cast",
    "complex64",
    "complex128",
    "e",
    "finfo",
    "float16",
    "float32",
    "float64",
    "iinfo",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "nan",
    "newaxis",
    "pi",
    "result_type",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]

DType: TypeAlias = np.dtype[Any]

bool = np.dtype(np.bool_)
int8 = np.dtype(np.int8)
int16 = np.dtype(np.int16)
int32 = np.dtype(np.int32)
int64 = np.dtype(np.int64)
uint8 = np.dtype(np.uint8)
uint16 = np.dtype(np.uint16)
uint32 = np.dtype(np.uint32)
uint64 = np.dtype(np.uint64)
float16 = np.dtype(np.float16)
float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
complex64 = np.dtype(np.complex64)
complex128 = np.dtype(np.complex128)

e = math.e
inf = math.inf
nan = math.nan
newaxis = None
pi = math.pi

EXTENDED = (
    "bfloat16",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "int4",
    "uint4",
)
"""Names of the dtypes that come from ml_dtypes."""


def __getattr__(name: str) -> DType:
    """The dtypes of ml_dtypes, by name."""
    if name not in EXTENDED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import ml_dtypes

    dtype: DType = np.dtype(getattr(ml_dtypes, name))
    globals()[name] = dtype
    return dtype


# Kinds of dtypes, in the standard's words, and what belongs to each.

_KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"] + _KINDS["complex floating"]

_CODES = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}


def _dtype_of(obj: Any) -> DType:
    """The dtype of an array, or the dtype that this is."""
    dtype = getattr(obj, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype
    try:
        meant: DType = np.dtype(obj)
    except TypeError:
        raise DTypeError(f"neither an array nor a dtype: {obj!r}") from None
    return meant


def _kind_code(dtype: DType) -> str:
    """NumPy's letter of the kind, also for the formats of ml_dtypes."""
    if not is_extended(dtype):
        return dtype.kind
    if is_extended_float(dtype):
        return "f"
    return "u" if dtype.name.startswith("u") else "i"


def isdtype(dtype: Any, kind: DType | str | tuple[DType | str, ...]) -> builtins.bool:
    """Whether a dtype is of a kind: a dtype, one of the standard's words, or a tuple of them.

    The words are bool, signed integer, unsigned integer, integral, real floating, complex floating
    and numeric. Raises ``DTypeError`` for other words.
    Array API standard 2025.12, data type functions, ``isdtype``.

    >>> lt.isdtype(lt.uint8, "integral"), lt.isdtype(lt.float32, ("bool", lt.float64))
    (True, False)
    """
    found = _dtype_of(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(found, one) for one in kind)
    if isinstance(kind, str):
        if kind not in _CODES:
            raise DTypeError(f"unknown kind of dtype {kind!r}; kinds: {', '.join(_CODES)}")
        return _kind_code(found) in _CODES[kind]
    return found == _dtype_of(kind)


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that operands promote to: NumPy 2's rules, Python scalars weak.

    Takes tensors, arrays, dtypes and Python scalars. Raises ``DTypeError`` where they have no
    common dtype.
    Array API standard 2025.12, data type functions, ``result_type``.

    >>> lt.result_type(lt.uint8, lt.int8), lt.result_type(lt.float32, 1.5)
    (dtype('int16'), dtype('float32'))
    """
    if not arrays_and_dtypes:
        raise DTypeError("result_type takes at least one tensor or dtype")
    signature = tuple(weak_type(type(obj)) or _dtype_of(obj) for obj in arrays_and_dtypes)
    try:
        return common_dtype(signature)
    except TypeError as error:
        raise DTypeError(f"no common dtype: {error}") from None


def can_cast(from_: Any, to: Any, /) -> builtins.bool:
    """Whether every value of a dtype, or of a tensor's dtype, is one of the other dtype.

    Array API standard 2025.12, data type functions, ``can_cast``.

    >>> lt.can_cast(lt.uint8, lt.int16), lt.can_cast(lt.float64, lt.float32)
    (True, False)
    """
    return np.can_cast(_dtype_of(from_), _dtype_of(to))


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """Limits of a floating-point dtype, as Python floats."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True, slots=True)
class IntegerInfo:
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating-point dtype, or of a tensor's; of complex those of its parts.

    Raises ``DTypeError`` for other dtypes. Array API standard 2025.12, data type functions,
    ``finfo``.

    >>> lt.finfo(lt.float32).bits, lt.finfo(lt.complex128).dtype
    (32, dtype('float64'))
    """
    dtype = _dtype_of(type)
    if _kind_code(dtype) not in "fc":
        raise DTypeError(f"finfo is about floats, not {dtype}; iinfo is about integers")
    found: Any = _limits(dtype, "finfo", np.finfo)
    return FloatInfo(
        int(found.bits),
        float(found.eps),
        float(found.max),
        float(found.min),
        float(found.smallest_normal),
        np.dtype(found.dtype),
    )


def iinfo(type: Any, /) -> IntegerInfo:
    """Limits of an integer dtype, or of a tensor's.

    Raises ``DTypeError`` for other dtypes. Array API standard 2025.12, data type functions,
    ``iinfo``.

    >>> lt.iinfo(lt.uint16).max
    65535
    """
    dtype = _dtype_of(type)
    if _kind_code(dtype) not in "iu":
        raise DTypeError(f"iinfo is about integers, not {dtype}; finfo is about floats")
    found: Any = _limits(dtype, "iinfo", np.iinfo)
    return IntegerInfo(int(found.bits), int(found.max), int(found.min), dtype)


def _limits(dtype: DType, name: str, numpy_info: Callable[[Any], Any]) -> Any:
    if not is_extended(dtype):
        return numpy_info(dtype)
    import ml_dtypes

    return getattr(ml_dtypes, name)(dtype)


class __array_namespace_info__:
    """What this namespace can do, as the standard's inspection functions tell it.

    Array API standard 2025.12, inspection.

    >>> lt.__array_namespace_info__().capabilities()["boolean indexing"]
    False
    """

    __slots__ = ()
    __module__ = "lazytensor"

    def capabilities(self) -> dict[str, builtins.bool | int | None]:
        """What is supported: shapes that depend on values are not.

        >>> lt.__array_namespace_info__().capabilities()["max dimensions"]
        64
        """
        return {"boolean indexing": False, "data-dependent shapes": False, "max dimensions": 64}

    def default_device(self) -> str:
        """The device of every tensor.

        >>> lt.__array_namespace_info__().default_device()
        'cpu'
        """
        return "cpu"

    def devices(self) -> tuple[str, ...]:
        """All devices.

        >>> lt.__array_namespace_info__().devices()
        ('cpu',)
        """
        return ("cpu",)

    def default_dtypes(self, *, device: str | None = None) -> dict[str, DType]:
        """Default dtype by kind.

        >>> lt.__array_namespace_info__().default_dtypes()["real floating"]
        dtype('float64')
        """
        _check_device(device)
        return {
            "real floating": float64,
            "complex floating": complex128,
            "integral": int64,
            "indexing": int64,
        }

    def dtypes(
        self, *, device: str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, DType]:
        """The standard's dtypes by name, of one kind or several if asked.

        >>> list(lt.__array_namespace_info__().dtypes(kind="real floating"))
        ['float32', 'float64']
        """
        _check_device(device)
        if kind is None:
            kind = ("bool", "numeric")
        kinds = kind if isinstance(kind, tuple) else (kind,)
        unknown = [one for one in kinds if one not in _KINDS]
        if unknown:
            raise DTypeError(f"unknown kind of dtype {unknown[0]!r}; kinds: {', '.join(_KINDS)}")
        return {name: np.dtype(name) for one in kinds for name in _KINDS[one]}


def _check_device(device: str | None) -> None:
    if device not in (None, "cpu"):
        raise ValueError(f"unknown device {device!r}; devices: 'cpu'")
