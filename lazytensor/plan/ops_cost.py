"""What operations cost an element, in nanoseconds, and what looking a result up costs instead.

Laws that trade one way of computing for another ask here. The numbers are measured with NumPy on
one machine (``python -m benchmarks.operation_costs --write`` renews them); they are used for
comparisons, in which machines differ less than in speed. An operation without a number is one that
no law may trade: because it may raise, or because nobody has measured it.
"""

from __future__ import annotations

import numpy as np

from lazytensor.plan.promote import is_extended

__all__ = ["COSTS", "LOOKUPS", "SEARCH", "cast_cost", "cost_class", "lookup_cost", "operation_cost"]

# fmt: off
COSTS: dict[str, dict[str, float]] = {
    "cast": {"b": 0.19, "1": 0.12, "2": 0.14, "4": 0.13, "8": 0.28, "f2": 1.15, "f4": 0.14,
        "f8": 0.19, "v2": 0.13, "v1": 1.76},
    "abs": {"b": 0.02, "1": 0.02, "2": 0.05, "4": 0.09, "8": 0.19, "f2": 0.04, "f4": 0.09, "f8":
        0.23, "v2": 0.43, "v1": 0.32},
    "acos": {"f2": 7.78, "f4": 7.34, "f8": 13.05, "v2": 9.1, "v1": 6.67},
    "acosh": {"f2": 0.62, "f4": 0.62, "f8": 1.85, "v2": 9.34, "v1": 26.09},
    "add": {"b": 0.36, "1": 0.02, "2": 0.05, "4": 0.09, "8": 0.18, "f2": 3.63, "f4": 0.09, "f8":
        0.2, "v2": 1.23, "v1": 7.09},
    "asin": {"f2": 9.41, "f4": 10.76, "f8": 12.22, "v2": 5.35, "v1": 6.56},
    "asinh": {"f2": 0.47, "f4": 0.45, "f8": 1.41, "v2": 5.87, "v1": 23.54},
    "atan": {"f2": 0.28, "f4": 0.25, "f8": 0.84, "v2": 4.76, "v1": 19.2},
    "atan2": {"f2": 19.64, "f4": 0.68, "f8": 1.85, "v2": 11.55, "v1": 31.65},
    "atanh": {"f2": 5.22, "f4": 5.35, "f8": 10.15, "v2": 3.89, "v1": 7.85},
    "bitwise_and": {"b": 0.57, "1": 0.02, "2": 0.05, "4": 0.09, "8": 0.2},
    "bitwise_invert": {"b": 0.02, "1": 0.02, "2": 0.05, "4": 0.07, "8": 0.16},
    "bitwise_left_shift": {"1": 0.28, "2": 0.05, "4": 0.07, "8": 0.15},
    "bitwise_or": {"b": 0.36, "1": 0.02, "2": 0.04, "4": 0.07, "8": 0.15},
    "bitwise_right_shift": {"1": 0.03, "2": 0.04, "4": 0.07, "8": 0.15},
    "bitwise_xor": {"b": 0.02, "1": 0.02, "2": 0.04, "4": 0.07, "8": 0.15},
    "ceil": {"b": 0.02, "1": 0.02, "2": 0.04, "4": 0.07, "8": 0.15, "f2": 5.08, "f4": 0.07,
        "f8": 0.15, "v2": 1.79, "v1": 10.95},
    "clip": {"b": 0.02, "1": 0.02, "2": 0.05, "4": 0.09, "8": 0.27, "f2": 8.17, "f4": 0.08,
        "f8": 0.21, "v2": 2.24, "v1": 2.2},
    "conj": {"1": 0.02, "2": 0.04, "4": 0.07, "8": 0.15, "f2": 0.33, "f4": 0.27, "f8": 0.28,
        "v2": 0.33, "v1": 0.29},
    "copysign": {"f2": 1.07, "f4": 0.52, "f8": 0.53, "v2": 0.62, "v1": 0.47},
    "cos": {"f2": 17.96, "f4": 0.45, "f8": 29.43, "v2": 12.76, "v1": 35.71},
    "cosh": {"f2": 2.49, "f4": 2.65, "f8": 0.79, "v2": 12.24, "v1": 23.96},
    "divide": {"f2": 7.9, "f4": 0.09, "f8": 0.27, "v2": 1.6, "v1": 10.79},
    "equal": {"b": 0.04, "1": 0.02, "2": 0.03, "4": 0.05, "8": 0.09, "f2": 1.38, "f4": 0.05,
        "f8": 0.08, "v2": 0.88, "v1": 0.97},
    "exp": {"f2": 2.1, "f4": 0.37, "f8": 0.66, "v2": 3.82, "v1": 13.75},
    "expm1": {"f2": 2.22, "f4": 2.44, "f8": 0.96, "v2": 19.34, "v1": 27.89},
    "floor": {"b": 0.02, "1": 0.02, "2": 0.05, "4": 0.09, "8": 0.2, "f2": 3.44, "f4": 0.09,
        "f8": 0.21, "v2": 1.84, "v1": 11.48},
    "floor_divide": {"1": 0.04, "2": 0.05, "4": 0.12, "8": 0.37, "f2": 22.63, "f4": 28.48, "f8":
        32.64, "v2": 33.08, "v1": 37.06},
    "greater": {"b": 0.02, "1": 0.02, "2": 0.03, "4": 0.06, "8": 0.11, "f2": 1.55, "f4": 0.06,
        "f8": 0.09, "v2": 0.77, "v1": 0.99},
    "greater_equal": {"b": 0.02, "1": 0.02, "2": 0.05, "4": 0.07, "8": 0.13, "f2": 1.57, "f4":
        0.05, "f8": 0.11, "v2": 0.79, "v1": 0.85},
    "hypot": {"f2": 11.83, "f4": 2.91, "f8": 8.92, "v2": 6.54, "v1": 20.56},
    "imag": {"b": 0.03, "1": 0.03, "2": 0.06, "4": 0.12, "8": 0.25, "f2": 0.06, "f4": 0.12,
        "f8": 0.21, "v2": 0.05, "v1": 0.03},
    "isfinite": {"b": 0.01, "1": 0.01, "2": 0.01, "4": 0.01, "8": 0.01, "f2": 1.03, "f4": 0.06,
        "f8": 0.11, "v2": 0.79, "v1": 0.38},
    "isinf": {"b": 0.01, "1": 0.01, "2": 0.01, "4": 0.01, "8": 0.01, "f2": 1.06, "f4": 0.06,
        "f8": 0.12, "v2": 0.51, "v1": 0.26},
    "isnan": {"b": 0.01, "1": 0.01, "2": 0.01, "4": 0.01, "8": 0.01, "f2": 1.01, "f4": 0.06,
        "f8": 0.11, "v2": 0.5, "v1": 0.39},
    "less": {"b": 0.02, "1": 0.04, "2": 0.04, "4": 0.07, "8": 0.11, "f2": 1.3, "f4": 0.05, "f8":
        0.08, "v2": 0.76, "v1": 0.84},
    "less_equal": {"b": 0.02, "1": 0.02, "2": 0.04, "4": 0.07, "8": 0.11, "f2": 1.28, "f4":
        0.05, "f8": 0.08, "v2": 0.78, "v1": 1.04},
    "log": {"f2": 0.16, "f4": 0.28, "f8": 0.8, "v2": 3.19, "v1": 13.68},
    "log10": {"f2": 0.16, "f4": 0.21, "f8": 0.77, "v2": 9.82, "v1": 22.74},
    "log1p": {"f2": 0.29, "f4": 0.32, "f8": 0.76, "v2": 16.21, "v1": 28.24},
    "log2": {"f2": 0.15, "f4": 0.22, "f8": 0.67, "v2": 3.23, "v1": 16.54},
    "logaddexp": {"f2": 33.49, "f4": 21.98, "f8": 21.77, "v2": 28.18, "v1": 37.6},
    "logical_and": {"b": 0.58, "1": 0.02, "2": 0.04, "4": 0.07, "8": 0.18, "f2": 2.12, "f4":
        0.69, "f8": 0.78, "v2": 1.08, "v1": 0.42},
    "logical_not": {"b": 0.02, "1": 0.02, "2": 0.03, "4": 0.06, "8": 0.12, "f2": 1.04, "f4":
        0.53, "f8": 0.52, "v2": 0.67, "v1": 0.34},
    "logical_or": {"b": 0.38, "1": 0.02, "2": 0.04, "4": 0.06, "8": 0.14, "f2": 1.23, "f4":
        0.81, "f8": 0.81, "v2": 0.63, "v1": 0.45},
    "logical_xor": {"b": 0.02, "1": 0.02, "2": 0.03, "4": 0.07, "8": 0.16, "f2": 2.12, "f4":
        0.81, "f8": 0.82, "v2": 1.18, "v1": 0.58},
    "maximum": {"b": 0.37, "1": 0.36, "2": 0.41, "4": 0.31, "8": 0.31, "f2": 1.63, "f4": 0.33,
        "f8": 0.5, "v2": 1.09, "v1": 1.13},
    "minimum": {"b": 0.58, "1": 0.36, "2": 0.42, "4": 0.31, "8": 0.33, "f2": 2.55, "f4": 0.33,
        "f8": 0.51, "v2": 1.1, "v1": 1.06},
    "multiply": {"b": 0.59, "1": 0.02, "2": 0.05, "4": 0.09, "8": 0.2, "f2": 3.8, "f4": 0.09,
        "f8": 0.19, "v2": 1.24, "v1": 10.91},
    "negative": {"1": 0.02, "2": 0.05, "4": 0.1, "8": 0.2, "f2": 0.45, "f4": 0.09, "f8": 0.2,
        "v2": 0.45, "v1": 0.33},
    "nextafter": {"f2": 1.83, "f4": 2.0, "f8": 3.09, "v2": 1.49, "v1": 1.28},
    "not_equal": {"b": 0.02, "1": 0.02, "2": 0.04, "4": 0.06, "8": 0.12, "f2": 1.42, "f4": 0.06,
        "f8": 0.1, "v2": 0.92, "v1": 1.01},
    "positive": {"1": 0.02, "2": 0.05, "4": 0.09, "8": 0.21, "f2": 0.34, "f4": 0.27, "f8": 0.28,
        "v2": 0.34, "v1": 0.29},
    "pow": {"f2": 12.44, "f4": 1.05, "f8": 1.87, "v2": 7.53, "v1": 24.91},
    "real": {"b": 0.02, "1": 0.02, "2": 0.04, "4": 0.08, "8": 0.15, "f2": 0.04, "f4": 0.07,
        "f8": 0.14, "v2": 0.04, "v1": 0.02},
    "reciprocal": {"1": 0.56, "2": 0.64, "4": 0.94, "8": 1.44, "f2": 2.93, "f4": 0.17, "f8":
        0.52, "v2": 0.99, "v1": 9.2},
    "remainder": {"1": 1.59, "2": 1.59, "4": 1.6, "8": 1.86, "f2": 29.52, "f4": 32.56, "f8":
        29.11, "v2": 34.42, "v1": 16.63},
    "round": {"b": 0.02, "1": 0.02, "2": 0.05, "4": 0.09, "8": 0.15, "f2": 3.52, "f4": 0.09,
        "f8": 0.19, "v2": 1.4, "v1": 6.0},
    "sign": {"1": 0.02, "2": 0.05, "4": 0.09, "8": 0.19, "f2": 1.13, "f4": 0.37, "f8": 0.54,
        "v2": 0.92, "v1": 0.53},
    "signbit": {"f2": 1.04, "f4": 0.06, "f8": 0.11, "v2": 0.3, "v1": 0.31},
    "sin": {"f2": 0.21, "f4": 0.44, "f8": 17.57, "v2": 8.65, "v1": 20.02},
    "sinh": {"f2": 2.68, "f4": 2.67, "f8": 0.81, "v2": 17.87, "v1": 16.41},
    "sqrt": {"f2": 3.42, "f4": 0.3, "f8": 1.02, "v2": 1.48, "v1": 6.95},
    "square": {"1": 0.02, "2": 0.04, "4": 0.09, "8": 0.19, "f2": 2.79, "f4": 0.09, "f8": 0.19,
        "v2": 1.16, "v1": 7.56},
    "subtract": {"1": 0.02, "2": 0.05, "4": 0.09, "8": 0.15, "f2": 3.94, "f4": 0.07, "f8": 0.15,
        "v2": 1.24, "v1": 7.44},
    "tan": {"f2": 0.29, "f4": 0.31, "f8": 0.99, "v2": 14.75, "v1": 31.65},
    "tanh": {"f2": 0.31, "f4": 0.19, "f8": 0.85, "v2": 10.38, "v1": 19.92},
    "trunc": {"b": 0.02, "1": 0.02, "2": 0.04, "4": 0.1, "8": 0.2, "f2": 3.4, "f4": 0.09, "f8":
        0.19, "v2": 1.66, "v1": 9.87},
    "where": {"b": 7.83, "1": 7.87, "2": 7.55, "4": 6.58, "8": 7.35, "f2": 6.84, "f4": 7.14,
        "f8": 7.68, "v2": 4.94, "v1": 4.89},
}
"""By operation, then by class of the dtype that is computed in (``cost_class``)."""

LOOKUPS: dict[str, float] = {"1": 0.57, "2": 0.59, "4": 0.64, "8": 0.97}
"""Of one element in a table of 65 536, by the bytes of an element of the table."""
# fmt: on

SEARCH = 10.0
"""Of one element in a sorted table of a few values; longer ones cost more."""


def cost_class(dtype: np.dtype) -> str:
    """Which column of the table a dtype belongs to.

    ``"b"`` for bools, ``"1"`` to ``"8"`` for integers by their bytes, ``"f2"`` to ``"f8"``,
    ``"v1"`` and ``"v2"`` for the formats of ml_dtypes.

    >>> cost_class(np.dtype("u2")), cost_class(np.dtype("f4"))
    ('2', 'f4')
    """
    if is_extended(dtype):
        return f"v{dtype.itemsize}"
    if dtype.kind == "b":
        return "b"
    return f"{dtype.kind if dtype.kind not in 'iu' else ''}{dtype.itemsize}"


def operation_cost(op: str, operands: tuple[np.dtype, ...], loop: np.dtype) -> float | None:
    """Nanoseconds an element, what NumPy converts on the way included; None if not to be traded.

    ``operands``: dtypes of those that are no scalars; ``loop``: what they are converted to.

    >>> operation_cost("pow", (np.dtype("i4"),), np.dtype("i4")) is None
    True
    """
    cost = COSTS.get(op, {}).get(cost_class(loop))
    if cost is None:
        return None
    return cost + sum([cast_cost(dtype) for dtype in operands if dtype != loop])


def cast_cost(dtype: np.dtype) -> float:
    """Nanoseconds an element to convert from a dtype.

    >>> cast_cost(np.dtype("u1")) < cast_cost(np.dtype("f2"))
    True
    """
    return COSTS["cast"].get(cost_class(dtype), 0.0)


def lookup_cost(itemsize: int) -> float:
    """Nanoseconds an element for values of so many bytes.

    >>> 0 < lookup_cost(1) <= lookup_cost(16)
    True
    """
    return LOOKUPS.get(str(itemsize), 2 * LOOKUPS["8"])
