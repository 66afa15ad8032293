"""The value that stands in for what is missing: as it is given, and as a document has it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, FormatError
from lazytensor.io.ome_arrow.values import as_values

__all__ = ["fill_of", "fill_to_json"]


def fill_of(value: Any, dtype: np.dtype) -> np.ndarray | None:
    """A fill value as 0-d array of a dtype, read only; None for None.

    ``value``: a number, or what ``fill_to_json`` made of one. Raises ``DTypeError`` for what is no
    value of the dtype: nothing is rounded to an integer, or cut off to fit.

    >>> fill_of(7, np.dtype("u1")), fill_of("nan", np.dtype("f4"))
    (array(7, dtype=uint8), array(nan, dtype=float32))
    >>> fill_of(-1, np.dtype("u1"))
    Traceback (most recent call last):
    lazytensor.errors.DTypeError: fill_value: -1 is no value of uint8
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = _float(value)
    elif isinstance(value, list) and len(value) == 2:
        value = complex(_float(value[0]), _float(value[1]))
    given = np.asarray(value)
    if given.ndim or given.dtype.kind not in "biufc":
        raise DTypeError(f"fill_value: expected one number, found {value!r:.80}")
    found = np.zeros((), dtype)
    try:
        if given.dtype.kind == "c":
            if dtype.kind != "c":
                raise FormatError(f"{value!r} is no value of {dtype}")
            as_values(given.real, found.real)
            as_values(given.imag, found.imag)
        else:
            as_values(given, found)
    except FormatError as error:
        raise DTypeError(f"fill_value: {error}") from error
    found.flags.writeable = False
    return found


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"fill_value: expected a number, found {value!r:.80}") from error


def fill_to_json(fill: np.ndarray) -> Any:
    """A number, true or false, ``"nan"`` or ``"inf"``; ``[real, imaginary]`` if it is complex."""
    value = fill.item()
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    return _plain(value)


def _plain(value: Any) -> Any:
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
