"""Fill values of zarr metadata, to the exact bits.

Integers never pass through floats, the payload of a NaN written as hexadecimal survives, and so
does the sign of zero. One function a kind of dtype makes an array of that dtype from the JSON
value; structures are filled field by field. What does not fit exactly where it must is a
``FormatError`` that names the key.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.small import SMALL_INTEGERS, value_mask
from lazytensor.io.zarr.document import describe
from lazytensor.io.zarr.dtypes import ML_FLOATS, native_dtype, stored_dtype

__all__ = ["parse_fill_value"]

_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NAT = -(1 << 63)
_EXACT_FLOAT = 1 << 53
_INTEGER = r"-?\d{1,20}"
_NUMBER = r"[+-]?\d{1,20}(\.\d{0,40})?([eE][+-]?\d{1,4})?"


def parse_fill_value(value: Any, dtype: np.dtype, where: str, *, zarr_format: int) -> np.ndarray:
    """A read-only 0-d array with the fill value, in the machine's byte order.

    ``dtype``: as the metadata describes it (v2 states the byte order of fields there). v2 allows
    null (undefined); like zarr-python this gives zero, an empty string, or "not a time".

    >>> parse_fill_value("0x7fc00001", np.dtype("f4"), "zarr.json", zarr_format=3).view("u4")
    array(2143289345, dtype=uint32)
    >>> parse_fill_value([1, 2], np.dtype([("a", "u1"), ("b", "u1")]), "", zarr_format=3)[()]
    np.void((1, 2), dtype=[('a', 'u1'), ('b', 'u1')])
    """
    native = native_dtype(dtype)
    out = np.zeros((), native)
    # zarr-python 2 wrote 0 for "nothing" whatever the dtype was.
    textual = native.kind in "SU" or issubclass(native.type, np.void)
    nothing = zarr_format == 2 and (value is None or (textual and _is_zero(value)))
    if not nothing:
        _set(out, value, dtype, where, zarr_format)
    elif native.kind in "mM":
        out[...] = "NaT"
    out.flags.writeable = False
    return out


def _is_zero(value: Any) -> bool:
    return type(value) in (int, float) and value == 0


def _set(out: np.ndarray, value: Any, dtype: np.dtype, where: str, zarr_format: int) -> None:
    """Put a JSON value into a 0-d array, whose dtype is ``dtype`` in the machine's byte order."""
    if dtype.names is not None:
        _set_fields(out, value, dtype, where, zarr_format)
        return
    # The types of ml_dtypes have the kind of raw bytes, and names of their own.
    small = _ML_KINDS.get(out.dtype.name) if out.dtype.kind == "V" else None
    kind = small or _KINDS[out.dtype.kind]
    try:
        found = kind(value, out.dtype, zarr_format)
    except (ValueError, OverflowError) as error:  # not base64, not UTF-8, no such bits
        raise _unfit(value, out.dtype, where) from error
    if found is None:
        raise _unfit(value, out.dtype, where)
    out[...] = found


def _unfit(value: Any, dtype: np.dtype, where: str) -> FormatError:
    return FormatError(f"{where}: expected a fill value of {dtype}, found {describe(value)}")


def _set_fields(out: np.ndarray, value: Any, dtype: np.dtype, where: str, zarr_format: int) -> None:
    """A structure: base64 of its bytes (little endian in v3), or the value of each field."""
    assert dtype.names is not None
    assert dtype.fields is not None
    if isinstance(value, str):
        stored = stored_dtype(dtype, "<" if zarr_format == 3 else None)
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _unfit(value, dtype, where) from error
        if len(data) != dtype.itemsize:
            raise _unfit(value, dtype, where)
        out[...] = np.frombuffer(data, stored)[0]
        return
    if isinstance(value, list) and len(value) == len(dtype.names):
        value = dict(zip(dtype.names, value, strict=True))
    if not isinstance(value, dict) or set(value) != set(dtype.names):
        raise FormatError(
            f"{where}: expected a fill value for each of the fields {describe(list(dtype.names))}, "
            f"found {describe(value)}"
        )
    for name in dtype.names:
        field = dtype.fields[name][0]
        if field.shape:
            raise FormatError(
                f"{where}: field {name!r} is a subarray; expected the whole structure in base64"
            )
        _set(out[name], value[name], field, f"{where}: {name}", zarr_format)


def _bool(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    if isinstance(value, bool):
        return value
    return bool(value) if zarr_format == 2 and value in (0, 1) else None


def _integer(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOAT:
        value = int(value)
    if zarr_format == 2 and isinstance(value, str) and re.fullmatch(_INTEGER, value, re.ASCII):
        value = int(value)
    if type(value) is not int:
        return None
    if dtype.kind == "V":
        least, most = SMALL_INTEGERS[dtype.name]
        return np.array(value).astype(dtype) if least <= value <= most else None
    return np.array(value, dtype)


def _float(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    """Bit patterns are taken as they are, numbers are rounded to the nearest."""
    if isinstance(value, str) and value.startswith("0x"):
        return _bits(value, dtype)
    if zarr_format == 2 and isinstance(value, str) and re.fullmatch(_NUMBER, value, re.ASCII):
        value = float(value)
    if isinstance(value, str):
        value = _SPECIAL_FLOATS.get(value)
    if type(value) not in (int, float):
        return None
    with np.errstate(all="ignore"):
        found = np.array(float(value)).astype(dtype)
    if dtype.kind != "V":
        return found
    if value == 0 and dtype.name == "float8_e8m0fnu":
        # The format has no zero. tensorstore writes 0.0 for its least value and reads it so.
        return np.zeros((), dtype)
    return found if _survives(float(value), float(found), dtype) else None


def _survives(value: float, found: float, dtype: np.dtype) -> bool:
    """Whether a small float format has the value; some lack infinities, NaN or negative numbers."""
    import ml_dtypes

    if not math.isfinite(value):
        return found == value or (math.isnan(found) and math.isnan(value))
    info = vars(ml_dtypes)["finfo"](dtype)
    return not math.isnan(found) and float(info.min) <= value <= float(info.max)


def _bits(text: str, dtype: np.dtype) -> Any:
    digits = text[2:]
    if len(digits) != 2 * dtype.itemsize or not re.fullmatch("[0-9a-fA-F]+", digits):
        return None
    bits = int(digits, 16)
    mask = value_mask(dtype.name) if dtype.kind == "V" else None
    if mask is not None and bits > mask:
        return None
    return np.array(bits, f"u{dtype.itemsize}").view(dtype)


def _complex(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    half = np.dtype(f"f{dtype.itemsize // 2}")
    parts = value if zarr_format == 3 or isinstance(value, list) else [value, 0.0]
    if not isinstance(parts, list) or len(parts) != 2:
        return None
    found = [_float(part, half, zarr_format) for part in parts]
    if any(part is None for part in found):
        return None
    return np.array(found, half).view(dtype)[0]


def _time(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    count = _integer(_NAT if value == "NaT" else value, np.dtype("i8"), zarr_format)
    return None if count is None else count.view(dtype)


def _text(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    return value if isinstance(value, str) and len(value) <= dtype.itemsize // 4 else None


def _string(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    """Text; a number stands for its digits in v2, as zarr-python reads it."""
    if zarr_format == 2 and type(value) in (int, float):
        value = str(value)
    return np.array(value, dtype) if isinstance(value, str) else None


def _bytes(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    """Base64 text or a list of integers; null-terminated bytes may be shorter than the dtype."""
    if isinstance(value, str):
        data = base64.b64decode(value, validate=True)
    elif isinstance(value, list) and all(type(n) is int for n in value):
        data = bytes(value)
    else:
        return None
    short_ok = dtype.kind == "S" or zarr_format == 2
    if len(data) > dtype.itemsize or (len(data) < dtype.itemsize and not short_ok):
        return None
    return np.frombuffer(data.ljust(dtype.itemsize, b"\0"), dtype)[0]


_KINDS: dict[str, Callable[[Any, np.dtype, int], Any]] = {
    "b": _bool,
    "i": _integer,
    "u": _integer,
    "f": _float,
    "c": _complex,
    "M": _time,
    "m": _time,
    "U": _text,
    "T": _string,
    "S": _bytes,
    "V": _bytes,
}
_ML_KINDS = dict.fromkeys(SMALL_INTEGERS, _integer) | dict.fromkeys(ML_FLOATS, _float)
