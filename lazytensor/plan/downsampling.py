"""What a downsample method is: its name, and the dtypes that it is defined for.

The table stands in the plan because a wrong method, dtype or factor is an error on the line that
builds the node; the kernels of ``exec`` assume that it was asked. The rules are TensorStore's
(``tensorstore.downsample``): median, min and max need an order, so they have no complex form, and
the mean needs arithmetic, so only ``stride`` and ``mode`` take text and times.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from lazytensor.errors import DTypeError, ShapeError

__all__ = ["METHODS", "Method", "check_factors", "check_method", "number_kind"]

Method = Literal["stride", "mean", "median", "mode", "min", "max"]

METHODS: tuple[str, ...] = get_args(Method)

_NUMBERS = "biufc"
_KINDS: dict[str, str] = {
    "stride": _NUMBERS + "SUTmMV",
    "mode": _NUMBERS + "SUTmM",
    "mean": _NUMBERS,
    "median": "biuf",
    "min": "biuf",
    "max": "biuf",
}
_KIND_NAMES = {
    "b": "bool",
    "i": "signed integers",
    "u": "unsigned integers",
    "f": "real floating point numbers",
    "c": "complex numbers",
    "S": "bytes",
    "U": "text",
    "T": "text",
    "m": "time differences",
    "M": "times",
    "V": "structures",
}
_EXTENSION_KINDS = (("bfloat", "f"), ("float", "f"), ("uint", "u"), ("int", "i"))


def number_kind(dtype: np.dtype) -> str:
    """NumPy's kind letter of ``dtype``, with extension floats and ints counted as what they are.

    ``bfloat16``, ``float8_*`` and ``int4`` come from an extension package and carry kind ``V``;
    they are told from structures by having neither fields nor a void scalar type.

    >>> number_kind(np.dtype("uint8")), number_kind(np.dtype([("x", "f4")]))
    ('u', 'V')
    """
    if dtype.kind != "V" or issubclass(dtype.type, np.void):
        return dtype.kind
    return next((kind for prefix, kind in _EXTENSION_KINDS if dtype.name.startswith(prefix)), "V")


def check_method(method: str, dtype: np.dtype) -> None:
    """Raise unless ``method`` is defined for values of ``dtype``; the result has the same dtype.

    Raises
    ------
    ShapeError
        ``method`` is none of ``METHODS``.
    DTypeError
        The method is not defined for the dtype. Extended precision (``longdouble``) is refused for
        all but ``stride``: its layout differs between machines, so results would too.

    >>> check_method("median", np.dtype("uint16"))
    >>> check_method("median", np.dtype("complex64"))
    Traceback (most recent call last):
    ...
    lazytensor.errors.DTypeError: downsample method 'median' is not defined for complex64: ...
    """
    if dtype.kind in "biuf" and dtype.itemsize <= 8 and method in METHODS:
        return
    if method not in METHODS:
        known = ", ".join(METHODS)
        raise ShapeError(f"unknown downsample method {method!r}: expected one of {known}")
    extended = dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)
    if number_kind(dtype) in _KINDS[method] and (method == "stride" or not extended):
        return
    names = dict.fromkeys(_KIND_NAMES[kind] for kind in _KINDS[method])
    raise DTypeError(
        f"downsample method {method!r} is not defined for {dtype}: it takes {', '.join(names)}"
        + (" of at most 64 bits a component" if extended else "")
        + "; cast first, or use another method"
    )


def check_factors(factors: Sequence[int], ndim: int) -> tuple[int, ...]:
    """``factors`` as ``ndim`` positive Python ints, else ``ShapeError``.

    >>> check_factors([1, 2], 2)
    (1, 2)
    """
    try:
        checked = tuple(map(operator.index, factors))
    except TypeError as error:
        raise ShapeError(f"downsample factors are integers, found {factors!r}") from error
    if len(checked) != ndim:
        raise ShapeError(
            f"downsample takes one factor a dimension: expected {ndim}, found {len(checked)} in"
            f" {checked}"
        )
    if checked and min(checked) < 1:
        raise ShapeError(f"downsample factors are at least 1, found {checked}")
    return checked
