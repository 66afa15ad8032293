"""The values in a serialised plan: dtypes, bytes, arrays, numbers, functions.

Everything is written as JSON of plain types. Reading trusts nothing: every value is checked for its
type and size before it is used, and what is wrong is a ``SerializationError`` that says where.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from lazytensor.errors import SerializationError
from lazytensor.plan.registry import scalar_type

__all__ = [
    "array_from_bytes",
    "bytes_from_json",
    "dtype_from_json",
    "dtype_to_json",
    "expect",
    "function_to_json",
    "ints_from_json",
    "little_endian_bytes",
    "number_from_json",
    "number_to_json",
]

_SIMPLE_KINDS = "biufcSUmM"
_MAX_ITEMSIZE = 2**31 - 1
_MAX_INT = 2**63


def fail(what: str, expected: str, found: object) -> NoReturn:
    """Raise for a value that is not what it should be."""
    shown = repr(found)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    raise SerializationError(f"damaged plan: {what} must be {expected}, found {shown}")


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """``value``, which must be of a JSON type (a bool is no int)."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    wrong_bool = isinstance(value, bool) and bool not in kinds
    too_large = isinstance(value, int) and abs(value) >= _MAX_INT
    if isinstance(value, kinds) and not wrong_bool and not too_large:
        return value
    fail(what, " or ".join(k.__name__ for k in kinds), value)


def ints_from_json(value: Any, what: str) -> tuple[int, ...]:
    """A list of 64-bit integers as a tuple."""
    return tuple(expect(n, int, f"an entry of {what}") for n in expect(value, list, what))


def dtype_to_json(dtype: np.dtype) -> Any:
    """A name (``"uint16"``, ``"bfloat16"``), a NumPy type string, or fields with offsets.

    >>> dtype_to_json(np.dtype("u2")), dtype_to_json(np.dtype(">f4")), dtype_to_json(np.dtype("U3"))
    ('uint16', '>f4', '<U3')
    """
    if dtype.kind == "T":
        if hasattr(dtype, "na_object"):
            raise SerializationError(f"dtype {dtype} with missing values cannot be written")
        return "string"
    if dtype.fields is not None:
        names = dtype.names or ()
        return {
            "names": list(names),
            "formats": [dtype_to_json(dtype.fields[name][0]) for name in names],
            "offsets": [int(dtype.fields[name][1]) for name in names],
            "itemsize": dtype.itemsize,
        }
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": dtype_to_json(base), "shape": list(shape)}
    if dtype.kind in _SIMPLE_KINDS:
        return dtype.name if dtype.isnative and dtype.kind in "biufc" else dtype.str
    if issubclass(dtype.type, np.void):
        return dtype.str
    return dtype.name


def dtype_from_json(value: Any, what: str = "a dtype") -> np.dtype:
    """Inverse of ``dtype_to_json``; only dtypes without Python objects.

    >>> dtype_from_json("uint16"), dtype_from_json(">f4")
    (dtype('uint16'), dtype('>f4'))
    """
    if isinstance(value, dict):
        return _compound(value, what)
    expect(value, str, what)
    if value == "string":
        return np.dtypes.StringDType()
    try:
        dtype: np.dtype = np.dtype(value)
    except (TypeError, ValueError, SyntaxError):
        return scalar_type(value)
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        fail(what, "the name of a dtype", value)
    if dtype.itemsize == 0 and dtype.kind in "SUV":
        fail(what, "a dtype with a size", value)
    return dtype


def _compound(value: dict[str, Any], what: str) -> np.dtype:
    if "base" in value:
        base = dtype_from_json(value["base"], what)
        shape = ints_from_json(value.get("shape"), f"shape of {what}")
        if any(n < 0 for n in shape) or math.prod(shape) * base.itemsize > _MAX_ITEMSIZE:
            fail(what, "a dtype of a sensible size", value)
        subarray: np.dtype = np.dtype((base, shape))
        return subarray
    formats = expect(value.get("formats"), list, f"formats of {what}")
    itemsize = expect(value.get("itemsize"), int, f"itemsize of {what}")
    if not 0 < itemsize <= _MAX_ITEMSIZE:
        fail(what, "a dtype of a sensible size", value)
    fields: Any = {
        "names": [
            expect(name, str, f"a name in {what}")
            for name in expect(value.get("names"), list, f"names of {what}")
        ],
        "formats": [dtype_from_json(f, what) for f in formats],
        "offsets": list(ints_from_json(value.get("offsets"), f"offsets of {what}")),
        "itemsize": itemsize,
    }
    try:
        dtype: np.dtype = np.dtype(fields)
    except (TypeError, ValueError) as error:
        raise SerializationError(f"damaged plan: {what} is no structured dtype: {error}") from error
    return dtype


def little_endian_bytes(array: np.ndarray) -> bytes:
    """Elements of an array in C order, little-endian whatever its dtype and the machine."""
    return array.astype(_little(array.dtype), copy=False).tobytes()


def array_from_bytes(
    data: bytes | memoryview, dtype: np.dtype, shape: tuple[int, ...], what: str
) -> np.ndarray:
    """Inverse of ``little_endian_bytes``: a new array; the number of bytes must be right."""
    if any(n < 0 for n in shape) or len(data) != math.prod(shape) * dtype.itemsize:
        fail(what, f"{shape} elements of {dtype}", f"{len(data)} bytes")
    array = np.frombuffer(data, _little(dtype)).reshape(shape)
    return np.array(array.astype(dtype, copy=False))


def _little(dtype: np.dtype) -> np.dtype:
    # Extension dtypes have one byte order and no other.
    extension = dtype.kind == "V" and not issubclass(dtype.type, np.void)
    return dtype if extension else dtype.newbyteorder("<")


def bytes_from_json(value: Any, what: str) -> bytes:
    """Bytes from base64 text."""
    try:
        return base64.b64decode(expect(value, str, what), validate=True)
    except (binascii.Error, ValueError) as error:
        if isinstance(error, SerializationError):
            raise
        raise SerializationError(f"damaged plan: {what} is not base64: {error}") from error


def number_to_json(value: Any) -> Any:
    """A parameter: None, bool, int, str as they are; floats exactly; dtypes by name."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return {"float": float(value).hex()}
    if isinstance(value, np.dtype):
        return {"dtype": dtype_to_json(value)}
    raise SerializationError(f"a parameter of type {type(value).__name__} cannot be written")


def number_from_json(value: Any, what: str) -> Any:
    """Inverse of ``number_to_json``."""
    if not isinstance(value, dict):
        return value if value is None else expect(value, (bool, int, str), what)
    if set(value) == {"dtype"}:
        return dtype_from_json(value["dtype"], what)
    text = expect(value.get("float"), str, what)
    try:
        return float.fromhex(text)
    except (ValueError, OverflowError) as error:
        raise SerializationError(f"damaged plan: {what} is no number: {text!r}") from error


def function_to_json(function: Callable[..., Any]) -> str:
    """``"module:qualname"`` of a function that can be found under that name.

    Lambdas, closures, partials and methods of objects cannot, and are a ``SerializationError``.
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    found: Any = None
    if module and name and "<" not in name:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part, None)
    if found is not function:
        raise SerializationError(
            f"{function!r} cannot be written: only functions that can be imported by name can, so "
            f"define it at the top of a module"
        )
    return f"{module}:{name}"


def function_from_json(
    value: Any, functions: Mapping[str, Callable[..., Any]], what: str
) -> Callable[..., Any]:
    """The function of that name among those the caller passed; none is ever imported."""
    name = expect(value, str, what)
    if name not in functions:
        raise SerializationError(
            f"the plan calls {name!r}: pass it as functions={{{name!r}: ...}}; functions are never "
            f"loaded from a document"
        )
    function = functions[name]
    if not callable(function):
        raise SerializationError(f"functions[{name!r}] is not callable: {function!r}")
    return function
