"""Conversion of values to another dtype, as ``numpy.ndarray.astype`` but for its warnings.

A cast is asked for by name, so nothing it does to a value is worth a warning; and a warning raised
in a worker thread would reach nobody, or turn into an error far from the line that asked.
"""

from __future__ import annotations

import numpy as np

__all__ = ["cast_into"]


def cast_into(values: np.ndarray, out: np.ndarray) -> None:
    """Write ``values`` into ``out``, of the same shape, in its dtype.

    Complex numbers lose their imaginary part, except that a bool is true if any part is not zero.

    >>> out = np.empty(2, np.int8)
    >>> cast_into(np.array([1.7 + 2j, -1.7]), out)
    >>> out
    array([ 1, -1], dtype=int8)
    """
    if values.dtype.kind == "c" and out.dtype.kind not in "cb":
        values = values.real
    with np.errstate(all="ignore"):
        if np.can_cast(values.dtype, out.dtype, "unsafe"):
            np.copyto(out, values, casting="unsafe")
        else:
            out[...] = values.astype(out.dtype)
