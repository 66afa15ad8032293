"""The operation table: every elementwise operation and every reduction, by name.

This is the one place to look an operation up. Rows are written in ``ops_elementwise`` and
``ops_reduce``; what a row is, in ``op`` and ``ops_reduce``. From them come the functions, operators
and methods (``tools/generate.py``), the dtypes of plan nodes, the interpretation, the kernels, the
mapping of NumPy's functions, the names in serialised plans, and their tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.plan import ops_elementwise, ops_quantize, ops_reduce
from lazytensor.plan.op import Op
from lazytensor.plan.ops_reduce import Reduction

__all__ = [
    "ELEMENTWISE",
    "FUNCTIONS",
    "OPERATIONS",
    "REDUCTIONS",
    "SUMMARIES",
    "UFUNCS",
    "Op",
    "Reduction",
]

ELEMENTWISE: dict[str, Op] = {row.name: row for row in ops_elementwise.ROWS}
"""Elementwise operations by name: those that are public functions."""

OPERATIONS: dict[str, Op] = {**ELEMENTWISE, **{row.name: row for row in ops_quantize.ROWS}}
"""All that the plan node of elementwise operations may name."""

REDUCTIONS: dict[str, Reduction] = {row.name: row for row in ops_reduce.ROWS}
"""Reductions by name: those that are public functions."""

SUMMARIES: dict[str, Reduction] = {
    **REDUCTIONS,
    **{row.name: row for row in ops_quantize.REDUCTIONS},
}
"""All that the plan node of reductions may name."""

# np.rint gives floats for integers where round keeps them, so it is not that operation.
UFUNCS: dict[np.ufunc, str] = {
    row.ufunc: row.name
    for row in ELEMENTWISE.values()
    if row.ufunc is not None and row.ufunc is not np.rint
}
"""NumPy ufunc to the operation it means."""

_ROWS: tuple[Op | Reduction, ...] = (*ELEMENTWISE.values(), *REDUCTIONS.values())

FUNCTIONS: dict[Callable[..., Any], str] = {
    getattr(np, name): row.name for row in _ROWS for name in row.functions
}
"""NumPy function that is not a ufunc, to the operation it means."""
