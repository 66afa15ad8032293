"""The source text of a compiled reduction of windows, and which there are.

A text says method, dtype, how many rows a window has and how many neighbours of a row; where the
rows lie is said by words at run time. So 2 x 2 x 2 of images in any arrangement is one text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lazytensor.native.kernels.downsample_block import MOST_INNER, MOST_ROWS
from lazytensor.plan.downsampling import number_kind

__all__ = ["text_of"]

_MOST_SORTED = 27
"""Values of a window that a network sorts in registers."""
_MOST_SUMMED = 64

_SUMMED = frozenset(("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"))
_ORDERED = _SUMMED | {"u8", "i8", "f2", "bfloat16"}

_TEXT = """\
from lazytensor.native.kernels.downsample import kernel_of
from lazytensor.native.kernels.downsample_lines import line_of

kernel = kernel_of(line_of({method!r}, {code!r}, {rows}, {inner}), {rows})
"""


def text_of(method: str, dtype: np.dtype, factors: Sequence[int]) -> str | None:
    """Source text of the kernel, None where there is none.

    >>> text_of("mean", np.dtype("c8"), (2, 2)) is None
    True
    """
    code = _code(dtype)
    rows, inner = math.prod(factors[:-1]), math.prod(factors[-1:])
    count = rows * inner
    kinds, most = (_SUMMED, _MOST_SUMMED) if method == "mean" else (_ORDERED, _MOST_SORTED)
    if method in ("min", "max"):
        most = _MOST_SUMMED
    if code not in kinds or not 1 < count <= most or inner > MOST_INNER or rows > MOST_ROWS:
        return None
    return _TEXT.format(method=method, code=code, rows=rows, inner=inner)


def _code(dtype: np.dtype) -> str | None:
    """Name of a dtype here: kind and size, a bool being a byte that is 0 or 1."""
    if not dtype.isnative:
        return None
    kind = number_kind(dtype)
    if kind == "b":
        return "u1"
    if dtype.kind in "iuf":
        return f"{dtype.kind}{dtype.itemsize}"
    return dtype.name
