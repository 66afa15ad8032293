"""Data types and fill values as zarr metadata writes them: the other direction of ``dtypes`` and
``fill_values``.

Several spellings are read of some types. Written is the one that zarr-python reads, and of those
that it does not know, the one of the specification. A fill value is read back before it is
believed: what does not come out to the last bit is not written.
"""

from __future__ import annotations

import base64
import math
import sys
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, FormatError
from lazytensor.io.codec.small import SMALL_INTEGERS
from lazytensor.io.zarr.dtypes import (
    ML_FLOATS,
    native_dtype,
    parse_dtype_v2,
    parse_dtype_v3,
    stored_dtype,
)
from lazytensor.io.zarr.fill_values import parse_fill_value

__all__ = ["dtype_v2", "dtype_v3", "fill_json", "plain_dtype"]

_TEXTUAL = "SUTV"
_NAN_BITS_FROM = 3  # the version of zarr that can name the bits of a float


def _is_ml(dtype: np.dtype) -> bool:
    return dtype.name in ML_FLOATS or dtype.name in SMALL_INTEGERS


def _refused(dtype: np.dtype, zarr_format: int) -> DTypeError:
    return DTypeError(
        f"zarr v{zarr_format} cannot hold {dtype}: cast to a number, bool, complex64 or complex128,"
        " a string, raw bytes, datetime64, timedelta64, or a structure of these"
    )


def dtype_v3(dtype: np.dtype) -> Any:
    """The ``data_type`` of a dtype; ``DTypeError`` if there is none.

    >>> dtype_v3(np.dtype("<f4")), dtype_v3(np.dtype("S3"))
    ('float32', {'name': 'null_terminated_bytes', 'configuration': {'length_bytes': 3}})
    """
    found = _v3(dtype)
    try:
        read = parse_dtype_v3(found, "data_type")
    except FormatError as error:
        raise _refused(dtype, 3) from error
    if read != plain_dtype(dtype):
        raise _refused(dtype, 3)
    return found


def _v3(dtype: np.dtype) -> Any:
    if dtype.kind in "biufc" or _is_ml(dtype):
        return dtype.name if dtype.name != "bool_" else "bool"
    if dtype.kind == "T":
        return "string"
    if dtype.kind in "mM":
        unit, scale = np.datetime_data(dtype)
        name = "datetime64" if dtype.kind == "M" else "timedelta64"
        settings: dict[str, Any] = {"unit": unit, "scale_factor": scale}
        return {"name": f"numpy.{name}", "configuration": settings}
    if dtype.names is not None and dtype.fields is not None:
        fields = [[name, _v3(dtype.fields[name][0])] for name in dtype.names]
        return {"name": "structured", "configuration": {"fields": fields}}
    if dtype.subdtype is None and (sized := _SIZED.get(dtype.kind)):
        return {"name": sized, "configuration": {"length_bytes": dtype.itemsize}}
    return None


_SIZED = {"S": "null_terminated_bytes", "U": "fixed_length_utf32", "V": "raw_bytes"}


def plain_dtype(dtype: np.dtype) -> np.dtype:
    """In the machine's byte order and, of structures, without the holes between their fields.

    No metadata can state those.

    >>> plain_dtype(np.dtype([("a", "u1"), ("b", ">u4")], align=True)).itemsize
    5
    """
    if dtype.kind == "T":
        return dtype
    if dtype.names is None or dtype.fields is None:
        return native_dtype(dtype)
    return np.dtype([(name, plain_dtype(dtype.fields[name][0])) for name in dtype.names])


def dtype_v2(dtype: np.dtype) -> Any:
    """The ``dtype`` of a dtype, little endian; ``DTypeError`` if there is none.

    >>> dtype_v2(np.dtype([("a", ">u2"), ("b", "f4", (2,))]))
    [['a', '<u2'], ['b', '<f4', [2]]]
    """
    found = _v2(dtype)
    try:
        read = parse_dtype_v2(found, "dtype", object_codec="vlen-utf8")
    except FormatError as error:
        raise _refused(dtype, 2) from error
    if native_dtype(read) != plain_dtype(dtype):
        raise _refused(dtype, 2)
    return found


def _v2(dtype: np.dtype) -> Any:
    if dtype.kind == "T":
        return "|O"
    if _is_ml(dtype):
        return dtype.name
    if dtype.names is not None and dtype.fields is not None:
        return [_field_v2(name, dtype.fields[name][0]) for name in dtype.names]
    if dtype.kind in "biufcmMSUV" and dtype.subdtype is None:
        return dtype.newbyteorder("<").str
    return None


def _field_v2(name: str, dtype: np.dtype) -> list[Any]:
    if dtype.subdtype is None:
        return [name, _v2(dtype)]
    base, shape = dtype.subdtype
    return [name, _v2(base), list(shape)]


def fill_json(value: Any, dtype: np.dtype, zarr_format: int) -> Any:
    """A fill value as JSON, which reads back as the same bits.

    ``dtype``: in the machine's byte order. None is zero, nothing, or "not a time", and 0 is also an
    empty string. Of v2 NaN is any NaN. ``FormatError`` for what the dtype cannot hold.

    >>> fill_json(float("nan"), np.dtype("f4"), 3), fill_json(1, np.dtype("c8"), 3)
    ('NaN', [1.0, 0.0])
    >>> fill_json(300, np.dtype("u1"), 3)
    Traceback (most recent call last):
    lazytensor.errors.FormatError: fill_value: 300 is no value of uint8
    """
    scalar = _scalar(value, dtype)
    for document in _spellings(scalar, dtype, zarr_format):
        try:
            read = parse_fill_value(document, dtype, "fill_value", zarr_format=zarr_format)
        except FormatError:
            continue
        if dtype.kind == "T" or read.tobytes() == scalar.tobytes():
            return document
    if zarr_format < _NAN_BITS_FROM and dtype.kind in "fc":
        return _json(scalar, dtype)
    raise _unfit(value, dtype)


def _unfit(value: Any, dtype: np.dtype) -> FormatError:
    return FormatError(f"fill_value: {value!r} is no value of {dtype}")


def _scalar(value: Any, dtype: np.dtype) -> np.ndarray:
    """A 0-d array of the dtype with exactly that value."""
    if value is None:
        none = np.zeros((), dtype)
        if dtype.kind in "mM":
            none[...] = "NaT"
        return none
    textual = dtype.kind in _TEXTUAL and not _is_ml(dtype)
    if textual and type(value) in (int, float) and value == 0:
        return np.zeros((), dtype)
    given = value if isinstance(value, np.generic | np.ndarray) else None
    try:
        with np.errstate(all="ignore"):
            if given is not None and given.dtype != dtype:
                found = given.astype(dtype)
            else:
                found = np.array(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise _unfit(value, dtype) from error
    if found.shape or not _is_same(value, found, dtype):
        raise _unfit(value, dtype)
    return found


def _is_same(value: Any, found: np.ndarray, dtype: np.dtype) -> bool:
    """Whether nothing was lost but digits of a fraction."""
    if isinstance(value, np.generic | np.ndarray) and value.dtype == dtype:
        return True
    if dtype.kind in "SU":
        length = len(value) if isinstance(value, str | bytes) else -1
        return length * (4 if dtype.kind == "U" else 1) <= dtype.itemsize
    if dtype.kind in "TmM" or dtype.names is not None:
        return True
    if dtype.kind == "V" and not _is_ml(dtype):
        return isinstance(value, bytes) and len(value) == dtype.itemsize
    if not isinstance(value, int | float | complex | np.generic | np.ndarray):
        return False
    as_complex, read = complex(value), complex(found.astype("c16")[()])
    if dtype.kind in "biu" or dtype.name in SMALL_INTEGERS:
        is_whole = isinstance(value, int | np.integer | np.bool_)
        return int(found) == int(np.asarray(value)) if is_whole else as_complex == read
    overflowed = math.isinf(read.real) > math.isinf(as_complex.real)
    return not overflowed and (dtype.kind == "c" or not as_complex.imag)


def _spellings(scalar: np.ndarray, dtype: np.dtype, zarr_format: int) -> list[Any]:
    found = [_json(scalar, dtype)]
    if zarr_format < _NAN_BITS_FROM or dtype.names is not None:
        return found
    if dtype.kind == "f" or dtype.name in ML_FLOATS:
        found.append(_hexadecimal(scalar))
    if dtype.kind == "c":
        parts = scalar.reshape(1).view(f"f{dtype.itemsize // 2}")
        found.append([_hexadecimal(part) for part in parts])
    return found


def _hexadecimal(scalar: np.ndarray | np.generic) -> str:
    bits = int.from_bytes(scalar.tobytes(), sys.byteorder)
    return f"0x{bits:0{2 * scalar.itemsize}x}"


def _json(scalar: np.ndarray, dtype: np.dtype) -> Any:
    if dtype.names is not None:
        stored = scalar.reshape(1).astype(stored_dtype(dtype, "<"))
        return base64.b64encode(stored.tobytes()).decode()
    if dtype.kind == "b":
        return bool(scalar)
    if dtype.kind in "iu" or dtype.name in SMALL_INTEGERS:
        return int(scalar)
    if dtype.kind == "f" or dtype.name in ML_FLOATS:
        return _float(float(scalar))
    if dtype.kind == "c":
        number = complex(scalar)
        return [_float(number.real), _float(number.imag)]
    if dtype.kind in "mM":
        return "NaT" if np.isnat(scalar) else int(scalar.reshape(1).view("i8")[0])
    if dtype.kind in "UT":
        return str(scalar[()])
    return base64.b64encode(scalar.tobytes()).decode()


def _float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
