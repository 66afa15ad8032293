"""A gather from an array in memory in compiled code: an array is one cell that is not cut.

NumPy looks elements up one index array after the other, and copies what it found into its place;
here every element is copied once, from where its byte offset says. The twin is
``kernels.gather.apply_transform``, and does all that it does as fast: copying rows that lie in the
order of the result is as good with ``np.take``, and needs no tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lazytensor.exec.kernels.choice import compiled
from lazytensor.exec.kernels.gather_cells import GatherConsumer, entries_of
from lazytensor.exec.kernels.gather_parts import Space, innermost_last, parts_of, places_of
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.output_map import ARRAY, CONSTANT

__all__ = ["gather_array"]

_SAVED_PER_ELEMENT = 1e-9
_FEWEST = 1 << 14
"""Elements that NumPy has looked up before the tables would be made."""

_MANY = 1 << 18
"""So many elements that are each looked up by itself along the last dim alone, or along three dims,
are copied faster here than ``np.take`` does."""

_FEW_OF, _MUCH = 8, 1 << 19
"""``np.take`` first copies what is not contiguous: worth avoiding where that is so many times what
is wanted, and so many elements."""


def gather_array(
    transform: IndexTransform, array: np.ndarray, origin: Sequence[int], out: np.ndarray
) -> bool:
    """Fill ``out`` as ``apply_transform`` does; False, and nothing done, without compiled code.

    ``OutOfBoundsError`` if a coordinate of the image is not in the array.
    """
    if out.size < _FEWEST or array.dtype.hasobject or array.dtype.kind == "T":
        return False
    if not array.itemsize or out.dtype != array.dtype:
        return False
    if _takes_well(transform, array, out):
        return False
    run = compiled("gather", None, out.size * _SAVED_PER_ELEMENT)
    if run is None:
        return False
    parts, fixed = parts_of(Space(array.shape, origin, [None] * array.ndim), transform)
    driven = {d for part in parts for d in part.dims}
    if not parts or any(n != 1 for d, n in enumerate(out.shape) if d not in driven):
        return False
    entries = [
        entries_of(
            tuple(part.along),
            list(part.along.values()),
            [array.strides[d] for d in part.along],
            places_of(part, out),
        )
        for part in innermost_last(parts, out)
    ]
    corner = {d: slice(c - origin[d], c - origin[d] + 1) for d, c in fixed.items()}
    for some in entries:
        for d, (low, high) in zip(some.dims, some.hulls[0].tolist(), strict=True):
            corner[d] = slice(low, high + 1)
    entries[-1] = entries[-1].in_runs(array.itemsize)
    while len(entries) > 1 and (row := entries[-1].nbytes) is not None and len(row) == 1:
        # All that is inside is one run: rows of the next part are longer runs, or lists of such.
        entries[-2:] = [entries[-2].of_rows(int(row[0]))]
    piece = array[tuple([corner[d] for d in range(array.ndim)])]
    consumer = GatherConsumer(run, entries, out, array.strides)
    consumer.take(piece, [0] * array.ndim)
    return True


def _takes_well(transform: IndexTransform, array: np.ndarray, out: np.ndarray) -> bool:
    """Whether ``np.take`` along one dim after the other is as fast as a gather can be.

    It is where every dim of the array feeds one of the result, and elements lie in the same order
    in both. What is transposed or reversed it copies twice, and so it does what is looked up
    together.
    """
    if not out.flags.c_contiguous:
        return False
    copied = 0 if array.flags.c_contiguous else array.size
    if copied > max(_MUCH, _FEW_OF * out.size):
        return False
    apart: dict[int, int] = {}
    listed: list[int] = []
    for m, stride in zip(transform.maps, array.strides, strict=True):
        if m.kind == CONSTANT:
            continue
        if m.kind == ARRAY:
            dims = [d for d, n in enumerate(m.lookup()[0].values.shape) if n > 1]
            listed += dims
        else:
            dims, stride = [m.input_dimension], stride * m.stride
        if len(dims) > 1 or any(d in apart for d in dims):
            return False
        apart.update(dict.fromkeys(dims, stride))
    steps = [apart[d] for d in sorted(apart)]
    if not all(outer >= inner for outer, inner in pairwise([*steps, 1])):
        return False
    last_alone = len(steps) > 1 and listed == [max(apart)]
    return not ((last_alone or len(listed) > 2) and out.size >= _MANY)
