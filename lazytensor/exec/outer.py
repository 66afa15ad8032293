"""Boxes of a view with index arrays, as boxes of one without.

Of a view that picks positions along some dims, each by an array of its own, a box is a handful of
boxes of the rest of it, one position long along those dims. What reads boxes together takes those
as it takes any, and cannot take the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.output_map import CONSTANT, single_map

__all__ = ["Outer"]


class Outer:
    """A view with index arrays. ``node``: it, with all positions there are along those dims.

    >>> x = lt.asarray(np.arange(20).reshape(4, 5)).oindex[[3, 0, 2], 1:]
    >>> outer = Outer.of(x._node)
    >>> starts, extents = np.array([[1, 1], [0, 3]]), np.array([[2, 2], [1, 2]])
    >>> starts, extents, _ = outer.boxes(starts, extents, [np.zeros((2, 2)), np.zeros((1, 2))])
    >>> outer.node.shape, starts.tolist(), extents.tolist()
    ((4, 4), [[0, 1], [2, 1], [3, 3]], [[1, 2], [1, 2], [1, 2]])
    """

    def __init__(self, node: Node, picked: dict[int, np.ndarray], origin: Sequence[int]) -> None:
        self.node = node
        self._picked = picked
        self._origin = origin

    @classmethod
    def of(cls, node: Node) -> Outer | None:
        """None for what is no such view."""
        if not isinstance(node, View) or not node.transform.has_arrays or not node.size:
            return None
        dims = [
            m.input_dimension if m.array is None else _varying(m.array.values)
            for m in node.transform.maps
            if m.kind != CONSTANT
        ]
        if None in dims or len(set(dims)) < len(dims):
            return None
        lo, hi = list(node.domain.inclusive_min), list(node.domain.exclusive_max)
        maps = list(node.transform.maps)
        picked: dict[int, np.ndarray] = {}
        for at, m in enumerate(maps):
            if m.array is None:
                continue
            dim = _varying(m.array.values)
            assert dim is not None
            picked[dim] = m.offset + m.stride * m.array.values.ravel()
            lo[dim], hi[dim] = node.x.domain.inclusive_min[at], node.x.domain.exclusive_max[at]
            maps[at] = single_map(dim, 0, 1)
        domain = IndexDomain._make(tuple(lo), tuple(hi), node.domain.labels)
        whole = View(node.x, IndexTransform._make(domain, tuple(maps)))
        return cls(whole, picked, node.domain.inclusive_min)

    def parts(self, shape: Sequence[int]) -> int:
        """How many boxes one of this shape becomes."""
        return prod([shape[dim] for dim in self._picked])

    def boxes(
        self, starts: np.ndarray, extents: np.ndarray, outs: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """The boxes of ``node`` that boxes of the view are, and their places in ``outs``."""
        lows: list[list[int]] = []
        sizes: list[list[int]] = []
        places: list[np.ndarray] = []
        for start, extent, out in zip(starts.tolist(), extents.tolist(), outs, strict=True):
            for at in product(*[range(extent[dim]) for dim in self._picked]):
                low, size, spot = list(start), list(extent), [slice(None)] * len(start)
                for (dim, values), k in zip(self._picked.items(), at, strict=True):
                    low[dim] = int(values[start[dim] - self._origin[dim] + k])
                    size[dim] = 1
                    spot[dim] = slice(k, k + 1)
                lows.append(low)
                sizes.append(size)
                places.append(out[tuple(spot)])
        rank = starts.shape[1]
        return (
            np.array(lows, np.int64).reshape(-1, rank),
            np.array(sizes, np.int64).reshape(-1, rank),
            places,
        )


def _varying(values: np.ndarray) -> int | None:
    """The one dim along which an index array has several positions; None if there is none."""
    dims = [d for d, n in enumerate(values.shape) if n > 1]
    return dims[0] if len(dims) == 1 else None
