"""Which results are written around the caches.

A store that goes to memory by itself saves reading what it overwrites, but whoever wants the value
next has to fetch it from there. So it is for results that no cache could hold until somebody reads
them; all who write results ask here.
"""

from __future__ import annotations

import numpy as np

__all__ = ["STREAMED_NBYTES", "is_streamed"]

STREAMED_NBYTES = 32 << 20
"""Bytes of a result from which on it does not stay in a cache."""


def is_streamed(out: np.ndarray) -> bool:
    """Whether an array is, or is a part of, one that no cache can hold.

    >>> whole = np.empty(STREAMED_NBYTES, np.uint8)
    >>> is_streamed(whole[:10]), is_streamed(whole[:10].copy())
    (True, False)
    """
    while isinstance(out.base, np.ndarray):
        out = out.base
    return out.nbytes >= STREAMED_NBYTES
