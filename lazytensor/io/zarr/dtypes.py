"""Data types of zarr metadata as NumPy dtypes.

A table for names, one for names with a configuration, and one pattern for the type strings of v2.
What NumPy can only hold as Python objects is refused by name, with the way out.

An array has two dtypes. The one of its *values* is in the machine's byte order and is what a plan
sees. The *stored* one is how the bytes of a chunk are looked at before they are assigned to values:
it has the byte order of the file, and plain bytes for what a file may write with any bits set: the
bools of a structure (a NumPy bool is 0 or 1) and values of less than a byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, Literal

import numpy as np

from lazytensor.errors import DTypeError, FormatError
from lazytensor.io.codec.small import SMALL_INTEGERS, SMALL_TYPES
from lazytensor.io.zarr.document import Fields, describe, extension

__all__ = [
    "ML_FLOATS",
    "native_dtype",
    "parse_dtype_v2",
    "parse_dtype_v3",
    "stored_dtype",
]

ByteOrder = Literal["<", ">"]

_MOST_ITEM_BYTES = 1 << 20
_MOST_NESTED = 16
_MOST_SCALE = (1 << 31) - 1

_NUMPY_NAMES = {
    name: name
    for name in (
        "bool",
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
} | {"complex_float32": "complex64", "complex_float64": "complex128"}

# The types of ml_dtypes are stored one a byte (bfloat16: two).
ML_FLOATS = frozenset(
    (
        "bfloat16",
        "float4_e2m1fn",
        "float6_e2m3fn",
        "float6_e3m2fn",
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

_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
_SPELLINGS = {unit: unit for unit in _UNITS} | {"μs": "us", "µs": "us"}

_V2_STRING = (
    r"[<>|](?:b1|[iu][1248]|f[248]|c8|c16|[SUV]\d{1,10}"
    rf"|[mM]8(?:\[\d{{0,10}}(?:{'|'.join(_UNITS)}|μs|generic)\])?)"
)
_V2_LONG_FLOAT = r"[<>|](?:f12|f16|c24|c32)"

_CONVERT = "rewrite the array with a fixed-length or string data type, or read it with zarr-python"
# Registered data types that NumPy holds only as Python objects, or not at all.
_REFUSED = {
    "bytes": f"NumPy holds byte strings of variable length only as Python objects; {_CONVERT}",
    "json": f"NumPy holds JSON values only as Python objects; {_CONVERT}",
    "object": f"Python objects are never read; {_CONVERT}",
}
_REFUSED |= dict.fromkeys(("variable_length_bytes", "binary"), _REFUSED["bytes"])
_REFUSED |= {
    f"complex_{part}": "NumPy has no such dtype; rewrite the array as complex64"
    for part in sorted(ML_FLOATS | {"float16"})
}
# The same for the object dtype of v2, by the filter that made bytes of the objects.
_OBJECT_CODECS = {
    "pickle": "reading a pickle can run any program",
    "json2": "JSON values are Python objects",
    "msgpack2": "MessagePack values are Python objects",
    "vlen-bytes": "NumPy holds byte strings of variable length only as Python objects",
    "vlen-array": "NumPy holds arrays of variable length only as Python objects",
}


def parse_dtype_v3(value: Any, where: str, *, depth: int = 0) -> np.dtype:
    """The dtype of a v3 ``data_type``, in the machine's byte order.

    Raises ``DTypeError`` for a registered type that is not supported, ``FormatError`` for what is
    none or has the wrong configuration. ``depth``: how many structures it stands in.

    >>> parse_dtype_v3("uint16", "zarr.json"), parse_dtype_v3("r24", "zarr.json")
    (dtype('uint16'), dtype('V3'))
    >>> settings = {"unit": "s", "scale_factor": 10}
    >>> parse_dtype_v3({"name": "numpy.datetime64", "configuration": settings}, "zarr.json")
    dtype('<M8[10s]')
    """
    name, settings, _ = extension(value, where)
    if name in _NUMPY_NAMES:
        return np.dtype(_NUMPY_NAMES[name])
    if name in ML_FLOATS or name in SMALL_INTEGERS:
        return _ml_dtype(name, where)
    if name in _CONFIGURED:
        return _CONFIGURED[name](settings)
    if name in ("struct", "structured"):
        return _struct_v3(settings, depth)
    if name == "string":
        return np.dtypes.StringDType()
    if re.fullmatch(r"r\d{1,12}", name, re.ASCII):
        return _raw_bits(name, where)
    if name in _REFUSED:
        raise DTypeError(f"{where}: data type {name!r} is not supported: {_REFUSED[name]}")
    raise FormatError(f"{where}: expected the name of a data type, found {describe(name)}")


def _ml_dtype(name: str, where: str) -> np.dtype:
    import ml_dtypes

    scalar = vars(ml_dtypes).get(name)
    if scalar is None:
        raise DTypeError(
            f"{where}: data type {name!r} is not in ml_dtypes {ml_dtypes.__version__}; upgrade it"
        )
    found: np.dtype = np.dtype(scalar)
    return found


def _raw_bits(name: str, where: str) -> np.dtype:
    bits = int(name[1:])
    if bits % 8 or not 0 < bits <= 8 * _MOST_ITEM_BYTES:
        raise FormatError(f"{where}: expected a positive multiple of 8 bits, found {name!r}")
    return np.dtype(f"V{bits // 8}")


def _sized(code: str, unit: int, settings: Fields) -> np.dtype:
    """``length_bytes`` bytes in elements of ``unit`` bytes."""
    nbytes = settings.integer("length_bytes")
    if nbytes % unit or not 0 < nbytes <= _MOST_ITEM_BYTES:
        raise settings.wrong("length_bytes", f"a multiple of {unit} from 1 to {_MOST_ITEM_BYTES}")
    return np.dtype(f"{code}{nbytes // unit}")


def _time(code: str, settings: Fields) -> np.dtype:
    unit, scale = settings.text("unit"), settings.integer("scale_factor")
    if unit != "generic" and unit not in _SPELLINGS:
        raise settings.wrong("unit", f"one of {[*_UNITS, 'generic']}")
    if not 1 <= scale <= (1 if unit == "generic" else _MOST_SCALE):
        raise settings.wrong("scale_factor", "an integer from 1 to 2^31 - 1 (1 without a unit)")
    return np.dtype(code if unit == "generic" else f"{code}[{scale}{_SPELLINGS[unit]}]")


_CONFIGURED: dict[str, Callable[[Fields], np.dtype]] = {
    "null_terminated_bytes": partial(_sized, "S", 1),
    "raw_bytes": partial(_sized, "V", 1),
    "fixed_length_utf32": partial(_sized, "U", 4),
    "numpy.datetime64": partial(_time, "M8"),
    "numpy.timedelta64": partial(_time, "m8"),
}


def _struct_v3(settings: Fields, depth: int) -> np.dtype:
    """Fields as objects (``struct``) or as pairs (``structured``, what zarr-python 3.1 wrote)."""
    fields: list[tuple[Any, ...]] = []
    for i, field in enumerate(settings.items("fields")):
        where = f"{settings.at('fields')}[{i}]"
        pair = list(map(field.get, ("name", "data_type"))) if isinstance(field, dict) else field
        if not isinstance(pair, list) or len(pair) != 2 or not pair[0]:
            raise FormatError(f"{where}: expected a name and a data type, found {describe(field)}")
        name, kind = pair
        _check_depth(where, depth)
        fields.append((name, parse_dtype_v3(kind, f"{where} {describe(name)}", depth=depth + 1)))
    return _struct(fields, settings.at("fields"))


def _check_depth(where: str, depth: int) -> None:
    if depth >= _MOST_NESTED:
        raise FormatError(f"{where}: structures nested more than {_MOST_NESTED} deep")


def _struct(fields: list[tuple[Any, ...]], where: str) -> np.dtype:
    """A packed structure; ``fields`` hold a name, a dtype and, in v2, perhaps a shape."""
    nbytes = 0
    for name, dtype, *shape in fields:
        if not isinstance(name, str):
            raise FormatError(f"{where}: expected the name of a field, found {describe(name)}")
        if dtype.kind == "T":
            raise FormatError(f"{where}: field {name!r} has no fixed size, as fields must have")
        if dtype.name in SMALL_TYPES:
            raise DTypeError(
                f"{where}: field {name!r}: {dtype.name} in a structure is not supported"
            )
        nbytes += dtype.itemsize * prod(*shape) if shape else dtype.itemsize
    if not 0 < nbytes <= _MOST_ITEM_BYTES:
        raise FormatError(f"{where}: expected fields of 1 to {_MOST_ITEM_BYTES} bytes in all")
    try:
        found: np.dtype = np.dtype(fields)
    except ValueError as error:  # a name twice
        raise FormatError(f"{where}: {error}") from error
    return found


def parse_dtype_v2(
    value: Any, where: str, *, object_codec: str | None = None, depth: int = 0
) -> np.dtype:
    """The dtype of a v2 ``dtype``, in the byte order of the stored values.

    ``object_codec``: id of the filter that turns objects into bytes, for ``"|O"``. ``depth``: how
    many structures it stands in. Raises ``DTypeError`` and ``FormatError`` as ``parse_dtype_v3``.

    >>> parse_dtype_v2(">i4", ".zarray"), parse_dtype_v2([["a", "<u2"]], ".zarray")
    (dtype('>i4'), dtype([('a', '<u2')]))
    """
    if isinstance(value, list):
        return _struct_v2(value, where, depth)
    if not isinstance(value, str):
        raise FormatError(f"{where}: expected a dtype such as '<u2', found {describe(value)}")
    if value in ML_FLOATS or value in SMALL_INTEGERS:
        return _ml_dtype(value, where)
    if value in ("|O", "O"):
        return _object_v2(where, object_codec)
    if re.fullmatch(_V2_LONG_FLOAT, value):
        raise DTypeError(f"{where}: data type {value!r} depends on the machine that wrote it")
    try:
        dtype = np.dtype(value) if re.fullmatch(_V2_STRING, value, re.ASCII) else None
    except (TypeError, ValueError, OverflowError):
        dtype = None
    if dtype is None:
        raise FormatError(f"{where}: expected a dtype such as '<u2', found {describe(value)}")
    if not 0 < dtype.itemsize <= _MOST_ITEM_BYTES:
        raise DTypeError(f"{where}: {value!r}: elements have 1 to {_MOST_ITEM_BYTES} bytes")
    return dtype


def _object_v2(where: str, codec: str | None) -> np.dtype:
    if codec in ("vlen-utf8", "categorize"):
        return np.dtypes.StringDType()
    reason = _OBJECT_CODECS.get(codec or "", "Python objects are never read")
    raise DTypeError(
        f"{where}: data type '|O' with the filter {codec!r} is not supported: {reason}; {_CONVERT}"
    )


def _struct_v2(value: list[Any], where: str, depth: int) -> np.dtype:
    fields: list[tuple[Any, ...]] = []
    for i, field in enumerate(value):
        at = f"{where}[{i}]"
        if not isinstance(field, list) or len(field) not in (2, 3):
            raise FormatError(f"{at}: expected a name and a dtype, found {describe(field)}")
        _check_depth(at, depth)
        dtype = parse_dtype_v2(field[1], at, depth=depth + 1)
        shape = [Fields({"shape": extents}, at).extents("shape") for extents in field[2:]]
        fields.append((field[0], dtype, *shape))
    return _struct(fields, where)


def native_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the values: the same in the machine's byte order.

    >>> native_dtype(np.dtype([("a", ">i4")]))
    dtype([('a', '<i4')])
    """
    # isnative does not look into subarrays of structures.
    native = dtype if dtype.kind == "T" else dtype.newbyteorder("=")
    return dtype if native == dtype else native


def stored_dtype(dtype: np.dtype, order: ByteOrder | None = None) -> np.dtype:
    """How the bytes of values of ``dtype`` are looked at: ``dtype`` itself where that is right.

    ``order``: byte order of all numbers, None for the one of ``dtype``.

    >>> stored_dtype(np.dtype([("a", "<i4"), ("b", "?")]), ">")
    dtype([('a', '>i4'), ('b', 'u1')])
    """
    if dtype.kind == "T":
        return dtype
    if dtype.kind == "V" and dtype.name in SMALL_TYPES:
        return np.dtype("u1")
    stored = _stored(dtype, order, inside=False)
    return dtype if stored == dtype else stored


def _stored(dtype: np.dtype, order: ByteOrder | None, *, inside: bool) -> np.dtype:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        repeated: np.dtype = np.dtype((_stored(base, order, inside=inside), shape))
        return repeated
    if dtype.names is not None and dtype.fields is not None:
        return np.dtype([
            (name, _stored(dtype.fields[name][0], order, inside=True)) for name in dtype.names
        ])  # fmt: skip
    if dtype.itemsize == 1:
        return np.dtype("u1") if inside and dtype.kind == "b" else dtype
    return dtype if order is None else dtype.newbyteorder(order)
