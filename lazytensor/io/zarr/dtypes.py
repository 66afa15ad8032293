"""Data types and fill values of zarr metadata.

Fill values are parsed to the exact bits: integers never pass through floats, the payload of a NaN
written as hexadecimal survives, and so does the sign of zero.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, FormatError, LazyTensorError
from lazytensor.io.zarr.document import describe

__all__ = ["parse_dtype_v2", "parse_dtype_v3", "parse_fill_value"]

_NUMPY_NAMES = frozenset(
    ["bool"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    + ["float16", "float32", "float64", "complex64", "complex128"]
)
# Stored as one element per byte (bfloat16: two); the types are those of ml_dtypes.
_ML_FLOATS = frozenset(
    (
        "bfloat16",
        "float8_e3m4",
        "float8_e4m3",
        "float8_e4m3b11fnuz",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    )
)
_ML_INTEGERS = {"int4": (-8, 7), "uint4": (0, 15)}
# Registered data types that exist but cannot be read here; any other name is damage, or a future.
_UNSUPPORTED = frozenset(
    (
        "bytes",
        "complex_bfloat16",
        "complex_float16",
        "complex_float32",
        "complex_float64",
        "fixed_length_utf32",
        "float4_e2m1fn",
        "float6_e2m3fn",
        "float6_e3m2fn",
        "int2",
        "json",
        "null_terminated_bytes",
        "object",
        "numpy.datetime64",
        "numpy.timedelta64",
        "raw_bytes",
        "string",
        "struct",
        "structured",
        "uint2",
        "variable_length_bytes",
        "variable_length_utf8",
    )
)
_SPECIAL_FLOATS = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}
_MOST_RAW_BITS = 1 << 20


def parse_dtype_v3(name: Any, where: str) -> np.dtype:
    """The dtype of a v3 ``data_type``.

    Raises ``DTypeError`` for a registered type that is not supported, ``FormatError`` for what is
    none.

    >>> parse_dtype_v3("uint16", "zarr.json"), parse_dtype_v3("r24", "zarr.json")
    (dtype('uint16'), dtype('V3'))
    """
    if isinstance(name, dict) and "name" in name and not name.get("configuration"):
        name = name["name"]
    if not isinstance(name, str):
        raise _refused(name.get("name") if isinstance(name, dict) else name, where)
    if name in _NUMPY_NAMES:
        return np.dtype(name)
    if name in _ML_FLOATS or name in _ML_INTEGERS:
        import ml_dtypes

        found: np.dtype = np.dtype(vars(ml_dtypes)[name])
        return found
    bits = name.removeprefix("r")
    if bits != name and bits.isdecimal() and bits.isascii() and len(bits) < 8:
        count = int(bits)
        if count % 8 or not 0 < count <= _MOST_RAW_BITS:
            raise FormatError(f"{where}: expected a positive multiple of 8 bits, found {name!r}")
        return np.dtype(f"V{count // 8}")
    raise _refused(name, where)


def _refused(name: Any, where: str) -> LazyTensorError:
    if isinstance(name, str) and name in _UNSUPPORTED:
        return DTypeError(f"{where}: data type {name!r} is not supported")
    return FormatError(f"{where}: expected the name of a data type, found {describe(name)}")


def parse_dtype_v2(text: Any, where: str) -> np.dtype:
    """The dtype of a v2 ``dtype`` (its byte order is that of the stored values).

    >>> parse_dtype_v2(">i4", ".zarray")
    dtype('>i4')
    """
    if isinstance(text, list):
        raise DTypeError(f"{where}: structured data type {describe(text)} is not supported")
    if not isinstance(text, str):
        raise FormatError(f"{where}: expected a dtype such as '<u2', found {describe(text)}")
    if text in _ML_FLOATS or text in _ML_INTEGERS:
        return parse_dtype_v3(text, where)
    try:
        dtype = np.dtype(text) if text[:1] in "<>|" and "," not in text else None
    except (TypeError, ValueError, SyntaxError, OverflowError):
        dtype = None
    if dtype is None:
        raise FormatError(f"{where}: expected a dtype such as '<u2', found {describe(text)}")
    if dtype.kind not in "biufcSV" or not 0 < dtype.itemsize <= _MOST_RAW_BITS // 8:
        raise DTypeError(f"{where}: data type {text!r} is not supported")
    if dtype.kind in "fc" and dtype.itemsize > 8 * (1 + (dtype.kind == "c")):
        raise DTypeError(f"{where}: data type {text!r} depends on the machine that wrote it")
    return dtype


def parse_fill_value(value: Any, dtype: np.dtype, where: str, *, zarr_format: int) -> np.ndarray:
    """A read-only 0-d array of ``dtype`` with the fill value; ``FormatError`` if it does not fit.

    v2 allows null (undefined: zero here, as zarr-python has it).

    >>> parse_fill_value("0x7fc00001", np.dtype("f4"), "zarr.json", zarr_format=3).view("u4")
    array(2143289345, dtype=uint32)
    """
    out = np.zeros((), dtype)
    if value is None and zarr_format == 2:
        pass
    elif dtype.kind == "b":
        out[...] = _as_bool(value, where, zarr_format)
    elif dtype.kind in "iu" or dtype.name in _ML_INTEGERS:
        out[...] = _as_integer(value, dtype, where)
    elif dtype.kind == "c":
        parts = value if isinstance(value, list) else [value, 0.0]
        if len(parts) != 2:
            raise _unfit(value, dtype, where)
        half = np.dtype(f"{dtype.byteorder}f{dtype.itemsize // 2}")
        out.reshape(1).view(half)[:] = [_as_float(part, half, where) for part in parts]
    elif dtype.kind == "f" or dtype.name in _ML_FLOATS:
        out[...] = _as_float(value, dtype, where)
    else:
        out.reshape(1).view(np.uint8)[:] = _as_bytes(value, dtype, where, zarr_format)
    out.flags.writeable = False
    return out


def _native(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def _unfit(value: Any, dtype: np.dtype, where: str) -> FormatError:
    return FormatError(f"{where}: expected a fill value of {dtype}, found {describe(value)}")


def _as_bool(value: Any, where: str, zarr_format: int) -> bool:
    if isinstance(value, bool):
        return value
    if zarr_format == 2 and value in (0, 1):
        return bool(value)
    raise _unfit(value, np.dtype(bool), where)


def _as_integer(value: Any, dtype: np.dtype, where: str) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        value = int(value)
    least, most = _ML_INTEGERS.get(dtype.name) or (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if type(value) is not int or not least <= value <= most:
        raise _unfit(value, dtype, where)
    return value


def _as_float(value: Any, dtype: np.dtype, where: str) -> Any:
    """A scalar of ``dtype``: bit patterns are taken as they are, numbers are rounded once."""
    if isinstance(value, str) and value.startswith("0x"):
        try:
            bits = int(value, 0)
            return np.array([bits], f"u{dtype.itemsize}").view(_native(dtype))[0]
        except (ValueError, OverflowError) as error:
            raise _unfit(value, dtype, where) from error
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _unfit(value, dtype, where)
    if isinstance(value, str) and value not in _SPECIAL_FLOATS:
        raise _unfit(value, dtype, where)
    if isinstance(value, str):
        value = _SPECIAL_FLOATS[value]
    try:
        with np.errstate(over="ignore"):
            return np.array(float(value)).astype(_native(dtype))[()]
    except OverflowError as error:
        raise _unfit(value, dtype, where) from error


def _as_bytes(value: Any, dtype: np.dtype, where: str, zarr_format: int) -> np.ndarray:
    """Raw bytes: a list of integers, or base64 text; short ones are padded with zeros in v2."""
    if value in (0, "") and zarr_format == 2 and not isinstance(value, bool):
        data = b""
    elif isinstance(value, str):
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _unfit(value, dtype, where) from error
    elif isinstance(value, list) and all(type(n) is int and 0 <= n < 256 for n in value):
        data = bytes(value)
    else:
        raise _unfit(value, dtype, where)
    if len(data) > dtype.itemsize or (zarr_format == 3 and len(data) != dtype.itemsize):
        raise _unfit(value, dtype, where)
    return np.frombuffer(data.ljust(dtype.itemsize, b"\0"), np.uint8)
