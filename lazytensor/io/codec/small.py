"""Number types of less than a byte, of ml_dtypes: what each of them holds.

In memory and in most files a value takes a whole byte, whose other bits may be anything in a file
and mean nothing.
"""

from __future__ import annotations

__all__ = ["SMALL_INTEGERS", "SMALL_TYPES", "value_mask"]

SMALL_INTEGERS = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15)}
"""Least and greatest value."""

SMALL_TYPES = {
    "int2": 2,
    "uint2": 2,
    "int4": 4,
    "uint4": 4,
    "float4_e2m1fn": 4,
    "float6_e2m3fn": 6,
    "float6_e3m2fn": 6,
}
"""Bits of a value, the lowest ones of its byte."""


def value_mask(name: str) -> int | None:
    """The bits of a byte that are the value; None for a type that is not in ``SMALL_TYPES``.

    >>> value_mask("int4"), value_mask("int8")
    (15, None)
    """
    bits = SMALL_TYPES.get(name)
    return None if bits is None else (1 << bits) - 1
